//! `/api/cameras…`: states for viewers, definitions for administrators.

use std::{collections::HashMap, sync::Arc};

use app::ssr::{Admin, Backend, CameraAdmin, CameraAdminError, Viewer};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use domain::{CameraDefinition, CameraDetails, CameraId, CameraProbe, CameraStatus, ManagedBy};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    input::{self, Path},
    openapi::schema,
    session,
};
use crate::error::Problem;

/// Every camera, ordered by id.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cameras {
    #[schema(value_type = Vec<Object>)]
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    #[serde(flatten)]
    status: CameraStatus,
    /// Where it can be changed.
    managed: Option<ManagedBy>,
}

/// Cameras
///
/// Every camera and its state, never its URL.
#[utoipa::path(get, path = "/api/cameras", tag = "cameras", responses((status = 200, body = Cameras)))]
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

/// Add a camera
#[utoipa::path(post, path = "/api/cameras", tag = "cameras", request_body = schema::CameraDefinition,
    responses((status = 201, body = schema::CameraDefinition)))]
pub(crate) async fn create(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    input::Json(definition): input::Json<CameraDefinition>,
) -> Result<Response, Problem> {
    let details = cameras.create(definition).await?;
    let location = session::header(format!("/api/cameras/{}", details.id))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(details)).into_response())
}

/// Definition of a camera
///
/// For administrators, for even a host may be more than viewers are to know.
#[utoipa::path(get, path = "/api/cameras/{id}", tag = "cameras", params(schema::CameraIdParam),
    responses((status = 200, body = schema::CameraDefinition)))]
pub(crate) async fn show(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    Path(id): Path<String>,
) -> Result<Json<CameraDetails>, Problem> {
    Ok(Json(cameras.details(session::parse_camera(&id)?).await?))
}

/// Change a camera
#[utoipa::path(put, path = "/api/cameras/{id}", tag = "cameras", params(schema::CameraIdParam),
    request_body = schema::CameraDefinition, responses((status = 200, body = schema::CameraDefinition)))]
pub(crate) async fn replace(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    Path(id): Path<String>,
    input::Json(definition): input::Json<CameraDefinition>,
) -> Result<Json<CameraDetails>, Problem> {
    if session::parse_camera(&id)? != definition.id {
        return Err(Problem::bad_request("id is another one than that of the URL"));
    }
    Ok(Json(cameras.update(definition).await?))
}

/// Remove a camera
#[utoipa::path(delete, path = "/api/cameras/{id}", tag = "cameras", params(schema::CameraIdParam),
    responses((status = 204)))]
pub(crate) async fn remove(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    cameras.remove(session::parse_camera(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is to be probed.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ProbeRequest {
    /// Of the camera.
    url: String,
}

/// What a camera offers
///
/// Connects to it, in at most 15 s.
#[utoipa::path(post, path = "/api/cameras/probe", tag = "cameras", request_body = ProbeRequest,
    responses((status = 200, body = Object)))]
pub(crate) async fn probe(
    _admin: Admin,
    State(cameras): State<Arc<dyn CameraAdmin>>,
    input::Json(request): input::Json<ProbeRequest>,
) -> Result<Json<CameraProbe>, Problem> {
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
