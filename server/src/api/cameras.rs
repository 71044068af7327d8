//! `/api/cameras…`: states for viewers, definitions for administrators.

use std::{collections::HashMap, sync::Arc};

use app::ssr::{Admin, Backend, CameraAdmin, CameraAdminError, Viewer};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use domain::{CameraDefinition, CameraDetails, CameraId, CameraProbe, CameraStatus, ManagedBy};
use serde::{Deserialize, Serialize};

use super::session;
use crate::error::Problem;

/// Every camera, ordered by id.
#[derive(Serialize)]
pub(crate) struct Cameras {
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    #[serde(flatten)]
    status: CameraStatus,
    /// Where it can be changed.
    managed: Option<ManagedBy>,
}

/// `GET /api/cameras`
pub(crate) async fn list(
    _viewer: Viewer,
    State(backend): State<Backend>,
) -> Result<Json<Cameras>, Problem> {
    let definitions = backend.camera_admin.list().await?;
    let managed: HashMap<CameraId, ManagedBy> =
        definitions.into_iter().map(|camera| (camera.id, camera.managed)).collect();
    let statuses = backend.cameras.borrow().clone();
    let item = |status: &CameraStatus| Item {
        managed: managed.get(&status.id).copied(),
        status: status.clone(),
    };
    Ok(Json(Cameras { items: statuses.iter().map(item).collect() }))
}

/// `POST /api/cameras` → 201, `Location`.
pub(crate) async fn create(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let definition: CameraDefinition = session::read_json(&headers, &session::read(body)?)?;
    let details = cameras.create(definition).await?;
    let location = session::header(format!("/api/cameras/{}", details.id))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(details)).into_response())
}

/// `GET /api/cameras/{id}`: for administrators, for even a host may be more than viewers are to know.
pub(crate) async fn show(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    Path(id): Path<String>,
) -> Result<Json<CameraDetails>, Problem> {
    Ok(Json(cameras.details(session::parse_camera(&id)?).await?))
}

/// `PUT /api/cameras/{id}`
pub(crate) async fn replace(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<CameraDetails>, Problem> {
    let definition: CameraDefinition = session::read_json(&headers, &session::read(body)?)?;
    if session::parse_camera(&id)? != definition.id {
        return Err(Problem::bad_request("id is another one than that of the URL"));
    }
    Ok(Json(cameras.update(definition).await?))
}

/// `DELETE /api/cameras/{id}` → 204.
pub(crate) async fn remove(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    cameras.remove(session::parse_camera(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct ProbeRequest {
    url: String,
}

/// `POST /api/cameras/probe` with `{url}`
pub(crate) async fn probe(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<CameraProbe>, Problem> {
    let request: ProbeRequest = session::read_json(&headers, &session::read(body)?)?;
    Ok(Json(cameras.probe(request.url).await?))
}

impl From<CameraAdminError> for Problem {
    fn from(error: CameraAdminError) -> Self {
        let status = match &error {
            CameraAdminError::NotFound => StatusCode::NOT_FOUND,
            CameraAdminError::Invalid(_) => StatusCode::BAD_REQUEST,
            CameraAdminError::Conflict(_) => StatusCode::CONFLICT,
            CameraAdminError::Unreachable(_) => StatusCode::BAD_GATEWAY,
            CameraAdminError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}
