//! `GET /api/cameras`

use app::ssr::{Backend, Viewer};
use axum::{Json, extract::State};
use domain::CameraStatus;
use serde::Serialize;

/// Every camera, ordered by id.
#[derive(Serialize)]
pub(crate) struct Cameras {
    items: Vec<CameraStatus>,
}

pub(crate) async fn list(_viewer: Viewer, State(backend): State<Backend>) -> Json<Cameras> {
    Json(Cameras { items: backend.cameras.borrow().to_vec() })
}
