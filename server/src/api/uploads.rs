//! `/api/uploads…`: files announced by hash, sent in parts straight to the blob store, verified.
//!
//! Must not: take the bytes of a part (they go to signed links), but for [`form`], where small files come
//! from pages without JavaScript.

use std::{path::PathBuf, sync::Arc, time::Duration};

use app::ssr::Operator;
use axum::{
    Json,
    body::Body,
    extract::{FromRequest as _, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use catalog::{Begun, Catalog, UploadError, Uploads};
use domain::{AssetId, NewUpload, NewUploadError, Upload, UploadId, UploadPart, UploadState};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;
use utoipa::ToSchema;

use super::{
    input::{self, Path},
    openapi::schema,
    session,
};
use crate::{HttpSettings, error::Problem, store_health::StoreHealth};

/// How long the answer to a completion waits for the bytes to be verified.
const COMPLETE_PATIENCE: Duration = Duration::from_secs(2);
/// Largest body of [`complete`]: 10 000 parts with their etags.
pub(crate) const COMPLETE_BODY_BYTES: usize = 2 << 20;
/// Largest body of [`form`].
const FORM_BYTES: u64 = 32 << 20;
/// Longest text field of a form.
const FORM_TEXT_BYTES: u64 = 4 << 10;

/// Uploads that are no assets yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct Unfinished {
    #[schema(value_type = Vec<schema::Upload>)]
    items: Vec<Upload>,
}

/// Unfinished uploads
#[utoipa::path(get, path = "/api/uploads", tag = "uploads",
    responses((status = 200, body = Unfinished)))]
pub(crate) async fn list(
    _operator: Operator,
    State(uploads): State<Uploads>,
) -> Result<Json<Unfinished>, Problem> {
    Ok(Json(Unfinished { items: uploads.unfinished().await? }))
}

/// Announce a file
///
/// Announcing an open upload again gives the same one, with the parts that have arrived. 503 while the blob
/// store does not answer.
#[utoipa::path(post, path = "/api/uploads", tag = "uploads", request_body = schema::NewUpload,
    responses((status = 201, body = schema::Upload),
        (status = 200, description = "These bytes are in the library already", body = schema::Asset)))]
pub(crate) async fn create(
    _operator: Operator,
    State(uploads): State<Uploads>,
    State(health): State<StoreHealth>,
    input::Json(new): input::Json<NewUpload>,
) -> Result<Response, Problem> {
    health.check().await?;
    Ok(match uploads.begin(new).await? {
        Begun::Known(asset) => Json(asset).into_response(),
        Begun::Upload(upload) => {
            let location = session::header(format!("/api/uploads/{}", upload.id))?;
            (StatusCode::CREATED, [(header::LOCATION, location)], Json(upload)).into_response()
        }
    })
}

/// One upload, with the parts that have arrived
#[utoipa::path(get, path = "/api/uploads/{id}", tag = "uploads", params(schema::UploadIdParam),
    responses((status = 200, body = schema::Upload)))]
pub(crate) async fn show(
    _operator: Operator,
    State(uploads): State<Uploads>,
    Path(id): Path<String>,
) -> Result<Json<Upload>, Problem> {
    let upload = uploads.find(&parse_id(&id)?).await?;
    upload.map(Json).ok_or_else(|| UploadError::NotFound.into())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartsRequest {
    numbers: Vec<u16>,
}

/// Where parts are to be sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartLinks {
    items: Vec<PartLink>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct PartLink {
    number: u16,
    size: u64,
    url: String,
}

/// Signed URLs of parts
///
/// Each is for one `PUT` of exactly `size` bytes, at most 100 at a time. 503 while the blob store does not
/// answer.
#[utoipa::path(post, path = "/api/uploads/{id}/parts", tag = "uploads", params(schema::UploadIdParam),
    request_body = PartsRequest, responses((status = 200, body = PartLinks)))]
pub(crate) async fn sign_parts(
    _operator: Operator,
    State(uploads): State<Uploads>,
    State(health): State<StoreHealth>,
    Path(id): Path<String>,
    input::Json(request): input::Json<PartsRequest>,
) -> Result<Json<PartLinks>, Problem> {
    health.check().await?;
    let links = uploads.sign_parts(&parse_id(&id)?, &request.numbers).await?;
    let items = links.into_iter().map(|link| PartLink {
        number: link.number,
        size: link.len_bytes,
        url: link.url,
    });
    Ok(Json(PartLinks { items: items.collect() }))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompleteRequest {
    #[serde(default)]
    #[schema(value_type = Vec<schema::UploadPart>)]
    parts: Vec<UploadPart>,
}

/// All parts are sent
///
/// While a long file is being verified the answer is 202; `GET` of the upload tells the end of it.
#[utoipa::path(post, path = "/api/uploads/{id}/complete", tag = "uploads", params(schema::UploadIdParam),
    request_body = CompleteRequest,
    responses((status = 200, body = schema::Asset), (status = 202, body = schema::Upload)))]
pub(crate) async fn complete(
    _operator: Operator,
    State(uploads): State<Uploads>,
    State(catalog): State<Catalog>,
    Path(id): Path<String>,
    input::Json(request): input::Json<CompleteRequest>,
) -> Result<Response, Problem> {
    let upload = uploads.complete(&parse_id(&id)?, &request.parts, COMPLETE_PATIENCE).await?;
    match upload.state {
        UploadState::Failed => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            upload.reason.unwrap_or_else(|| "the upload failed".to_owned()),
        )),
        UploadState::Done => {
            let asset = catalog.asset(&upload.asset_id).await?;
            let asset = asset.ok_or_else(|| Problem::not_found("the asset is gone already"))?;
            Ok(Json(asset).into_response())
        }
        UploadState::Open | UploadState::Verifying => {
            Ok((StatusCode::ACCEPTED, Json(upload)).into_response())
        }
    }
}

/// End an upload and remove what was sent
#[utoipa::path(delete, path = "/api/uploads/{id}", tag = "uploads", params(schema::UploadIdParam),
    responses((status = 204)))]
pub(crate) async fn abort(
    _operator: Operator,
    State(uploads): State<Uploads>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    uploads.abort(&parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The upload page's form without JavaScript
///
/// Small files, kept on disk on their way. Answers with a page to go to.
#[utoipa::path(post, path = "/api/uploads/form", tag = "uploads",
    request_body(content_type = "multipart/form-data", content = Object),
    responses((status = 303)))]
pub(crate) async fn form(
    _operator: Operator,
    State(uploads): State<Uploads>,
    State(http): State<Arc<HttpSettings>>,
    State(health): State<StoreHealth>,
    request: Request,
) -> Redirect {
    let mut taken = Taken::default();
    let outcome = match health.check().await {
        Ok(()) => take_form(&uploads, &http.spool_dir, request, &mut taken).await,
        // It has told of it.
        Err(_) => Err(FormRefused::Unavailable),
    };
    Redirect::to(&taken.way_on(outcome.err()))
}

/// What became of a form's files.
#[derive(Debug, Default)]
struct Taken {
    added: Vec<AssetId>,
    refused: Vec<FormRefused>,
}

impl Taken {
    /// The page that tells of it; `end` is why nothing more of the form was read.
    fn way_on(self, end: Option<FormRefused>) -> String {
        let end = match self.added.as_slice() {
            _ if end.is_some() || !self.refused.is_empty() => end,
            [] => Some(FormRefused::Empty),
            [one] => return format!("/assets/{one}"),
            _ => return "/assets".to_owned(),
        };
        let (added, refused) = (self.added.len(), self.refused.len());
        let mut codes: Vec<&str> = self.refused.iter().chain(&end).map(FormRefused::code).collect();
        codes.sort_unstable();
        codes.dedup();
        format!("/assets/upload?refused={}&added={added}&left={refused}", codes.join("."))
    }
}

/// Why a form, or a file of it, was not taken; the page knows a sentence for each.
#[derive(Debug)]
enum FormRefused {
    Malformed,
    TooLarge,
    Empty,
    EmptyFile,
    NotMedia,
    BadName,
    BadFolder,
    Unavailable,
}

impl FormRefused {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Empty => "empty",
            Self::EmptyFile => "empty-file",
            Self::NotMedia => "not-media",
            Self::BadName => "bad-name",
            Self::BadFolder => "bad-folder",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether another file of the form may be better.
    fn is_of_one_file(&self) -> bool {
        matches!(self, Self::EmptyFile | Self::NotMedia | Self::BadName)
    }

    fn unavailable(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a form's files cannot be kept: {error}");
        Self::Unavailable
    }
}

impl From<multer::Error> for FormRefused {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
                Self::TooLarge
            }
            _ => Self::Malformed,
        }
    }
}

impl From<UploadError> for FormRefused {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::NotMedia => Self::NotMedia,
            UploadError::Invalid(NewUploadError::Name) => Self::BadName,
            UploadError::Invalid(NewUploadError::Size) => Self::EmptyFile,
            UploadError::Invalid(NewUploadError::Folder) => Self::BadFolder,
            UploadError::Catalog(_) | UploadError::Store(_) => Self::unavailable(error),
            _ => Self::Malformed,
        }
    }
}

/// Reads a form to its end, past files that are refused.
async fn take_form(
    uploads: &Uploads,
    spool_dir: &std::path::Path,
    request: Request,
    taken: &mut Taken,
) -> Result<(), FormRefused> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type)?;
    let body = match Body::from_request(request, &()).await {
        Ok(body) => body.into_data_stream(),
        Err(never) => match never {},
    };
    let limits =
        multer::SizeLimit::new().whole_stream(FORM_BYTES).for_field("folder", FORM_TEXT_BYTES);
    let constraints = multer::Constraints::new().size_limit(limits);
    let mut form = multer::Multipart::with_constraints(body, boundary, constraints);
    let mut folder = String::new();
    while let Some(field) = form.next_field().await? {
        match (field.name(), field.file_name().map(str::to_owned)) {
            (Some("folder"), _) => folder = field.text().await?,
            // A browser sends an empty one when no file was chosen.
            (Some("file"), Some(name)) if !name.is_empty() => {
                let file = spool(spool_dir, field).await?;
                match uploads.add_file(file.path(), &name, &folder).await.map_err(FormRefused::from)
                {
                    Ok(asset) => taken.added.push(asset),
                    Err(refused) if refused.is_of_one_file() => taken.refused.push(refused),
                    Err(refused) => return Err(refused),
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A field's bytes in a file, which is removed when dropped.
async fn spool(
    dir: &std::path::Path,
    mut field: multer::Field<'_>,
) -> Result<NamedTempFile, FormRefused> {
    let dir: PathBuf = dir.to_owned();
    let make = move || std::fs::create_dir_all(&dir).and_then(|()| NamedTempFile::new_in(dir));
    let made = tokio::task::spawn_blocking(make).await.map_err(FormRefused::unavailable)?;
    let file = made.map_err(FormRefused::unavailable)?;
    let handle = file.reopen().map_err(FormRefused::unavailable)?;
    let mut handle = tokio::fs::File::from_std(handle);
    while let Some(chunk) = field.chunk().await? {
        handle.write_all(&chunk).await.map_err(FormRefused::unavailable)?;
    }
    handle.flush().await.map_err(FormRefused::unavailable)?;
    Ok(file)
}

fn parse_id(id: &str) -> Result<UploadId, Problem> {
    id.parse().map_err(|error: domain::ParseUploadIdError| Problem::not_found(error.to_string()))
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let status = match error {
            UploadError::Catalog(error) => return error.into(),
            UploadError::Store(error) => return error.into(),
            UploadError::NotFound => StatusCode::NOT_FOUND,
            UploadError::Invalid(_) | UploadError::Bad(_) => StatusCode::BAD_REQUEST,
            UploadError::Conflict(_) => StatusCode::CONFLICT,
            UploadError::NotMedia => StatusCode::UNPROCESSABLE_ENTITY,
            UploadError::TooMany => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string());
                return problem.retry_after_secs(60);
            }
        };
        Self::new(status, error.to_string())
    }
}
