//! Server functions of the pages that manage cameras. All but the wall's are for administrators.

#[cfg(feature = "ssr")]
use domain::{CameraDefinition, CameraId};
use std::fmt;

use domain::{CameraDetails, CameraProbe, MediaSettings, RtspTransport};
use leptos::{
    prelude::*,
    server_fn::{
        codec::{GetUrl, JsonEncoding},
        error::{FromServerFnError, ServerFnErrorErr},
    },
};
use serde::{Deserialize, Serialize};

use super::PageError;
#[cfg(feature = "ssr")]
use super::response;
#[cfg(feature = "ssr")]
use crate::ssr::CameraAdminError;

/// A field of the form that describes a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraField {
    /// Its name in addresses.
    Id,
    /// Its name to show.
    Name,
    /// Where its pictures come from.
    Url,
    /// Where its small pictures come from.
    SubUrl,
}

/// Why a form was not taken: a sentence for the person who filled it in. Never repeats a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct FormError {
    /// The field to look at, when it is one.
    pub field: Option<CameraField>,
    /// What is wrong.
    pub message: String,
}

impl FormError {
    /// About the form as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { field: None, message: message.into() }
    }

    /// About one field.
    pub fn at(field: CameraField, message: impl Into<String>) -> Self {
        Self { field: Some(field), message: message.into() }
    }

    /// What to show beside a field.
    pub fn beside(&self, field: CameraField) -> Option<String> {
        (self.field == Some(field)).then(|| self.message.clone())
    }
}

impl From<PageError> for FormError {
    fn from(error: PageError) -> Self {
        Self::new(error.to_string())
    }
}

impl FromServerFnError for FormError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        PageError::from_server_fn_error(error).into()
    }
}

/// Every camera as it is configured, ordered by id.
#[server(prefix = "/fn", endpoint = "camera-list", input = GetUrl)]
pub async fn list_camera_details() -> Result<Vec<CameraDetails>, PageError> {
    response::admin().await?;
    response::or_page_error(response::backend()?.camera_admin.list().await)
}

/// One camera as it is configured.
#[server(prefix = "/fn", endpoint = "camera", input = GetUrl)]
pub async fn read_camera(id: String) -> Result<CameraDetails, PageError> {
    response::admin().await?;
    let id = response::or_status(id.parse().map_err(|_| PageError::NotFound))?;
    response::or_page_error(response::backend()?.camera_admin.details(id).await)
}

/// Nothing, for those who may change cameras.
#[server(prefix = "/fn", endpoint = "camera-admin", input = GetUrl)]
pub async fn check_admin() -> Result<(), PageError> {
    response::admin().await.map(|_| ())
}

/// Adds a camera.
#[server(prefix = "/fn", endpoint = "camera-add")]
pub async fn add_camera(camera: CameraForm) -> Result<(), FormError> {
    let admin = response::camera_admin().await?;
    admin.create(camera.adding()?).await.map_err(|error| match error {
        // Only this form shows the id.
        CameraAdminError::Conflict(text) => FormError::at(CameraField::Id, text),
        error => response::form_error(error),
    })?;
    leptos_axum::redirect("/live/cameras");
    Ok(())
}

/// Changes a camera. URLs that are left empty stay as they are.
#[server(prefix = "/fn", endpoint = "camera-save")]
pub async fn save_camera(camera: CameraForm) -> Result<(), FormError> {
    let admin = response::camera_admin().await?;
    admin.update(camera.saving()?).await.map_err(response::form_error)?;
    leptos_axum::redirect("/live/cameras");
    Ok(())
}

/// Takes a camera out.
#[server(prefix = "/fn", endpoint = "camera-remove")]
pub async fn remove_camera(id: String) -> Result<(), FormError> {
    let admin = response::camera_admin().await?;
    let id = id.parse().map_err(|_| FormError::from(PageError::NotFound))?;
    admin.remove(id).await.map_err(response::form_error)?;
    leptos_axum::redirect("/live/cameras");
    Ok(())
}

/// Connects to a camera and tells what it offers. A request with a body, for the URL is a secret.
#[server(prefix = "/fn", endpoint = "camera-probe")]
pub async fn probe_camera(url: String) -> Result<CameraProbe, FormError> {
    let admin = response::camera_admin().await?;
    let url = url.trim();
    if url.is_empty() {
        return Err(FormError::at(CameraField::Url, "Write the source first."));
    }
    admin.probe(url.to_owned()).await.map_err(response::form_error)
}

/// The fields that describe a camera, as they were typed.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CameraForm {
    id: String,
    name: String,
    url: String,
    sub_url: String,
    remove_sub: bool,
    on_demand: bool,
    audio: bool,
    rtsp_transport: RtspTransport,
    media: MediaForm,
}

/// [`MediaSettings`] as a form sends them: a box that is not checked is left out.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
struct MediaForm {
    target_kbps: u32,
    max_kbps: u32,
    min_kbps: u32,
    key_frame_interval_ms: u32,
    jitter_buffer_ms: u32,
    simulcast: bool,
}

impl Default for MediaForm {
    fn default() -> Self {
        let media = MediaSettings::default();
        Self {
            target_kbps: media.target_kbps,
            max_kbps: media.max_kbps,
            min_kbps: media.min_kbps,
            key_frame_interval_ms: media.key_frame_interval_ms,
            jitter_buffer_ms: media.jitter_buffer_ms,
            simulcast: false,
        }
    }
}

#[cfg(feature = "ssr")]
impl From<MediaForm> for MediaSettings {
    fn from(form: MediaForm) -> Self {
        let MediaForm { target_kbps, max_kbps, min_kbps, .. } = form;
        Self {
            target_kbps,
            max_kbps,
            min_kbps,
            key_frame_interval_ms: form.key_frame_interval_ms,
            jitter_buffer_ms: form.jitter_buffer_ms,
            simulcast: form.simulcast,
        }
    }
}

impl fmt::Debug for CameraForm {
    /// Shows no URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CameraForm").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(feature = "ssr")]
impl CameraForm {
    /// # Errors
    /// The id is none, or there is no source.
    fn adding(self) -> Result<CameraDefinition, FormError> {
        let id: CameraId = self.id.trim().parse().map_err(|_| {
            FormError::at(
                CameraField::Id,
                "Use 1 to 64 small letters, digits, - or _, and begin with a letter or digit.",
            )
        })?;
        // `/live/cameras/new` is the page that adds one.
        if id.as_str() == "new" {
            return Err(FormError::at(CameraField::Id, "This name is not free; choose another."));
        }
        if self.url.trim().is_empty() {
            return Err(FormError::at(CameraField::Url, "A camera needs a source."));
        }
        Ok(self.definition(id))
    }

    /// # Errors
    /// The id is none.
    fn saving(self) -> Result<CameraDefinition, FormError> {
        let id = self.id.parse().map_err(|_| FormError::from(PageError::NotFound))?;
        Ok(self.definition(id))
    }

    fn definition(self, id: CameraId) -> CameraDefinition {
        let typed = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        CameraDefinition {
            id,
            name: self.name.trim().to_owned(),
            url: typed(self.url),
            sub_url: if self.remove_sub { Some(String::new()) } else { typed(self.sub_url) },
            on_demand: self.on_demand,
            audio: self.audio,
            rtsp_transport: self.rtsp_transport,
            media: self.media.into(),
        }
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    fn form(id: &str, url: &str, sub_url: &str) -> CameraForm {
        CameraForm {
            id: id.into(),
            name: " Front door ".into(),
            url: url.into(),
            sub_url: sub_url.into(),
            ..CameraForm::default()
        }
    }

    #[test]
    fn camera_to_add_needs_an_id_and_a_source() {
        let field = |form: CameraForm| form.adding().unwrap_err().field;
        for id in ["", "Front door", "new", "a/b"] {
            assert_eq!(field(form(id, "test:", "")), Some(CameraField::Id), "{id:?}");
        }
        assert_eq!(field(form("door", " ", "")), Some(CameraField::Url));
        let added = form(" door ", " test: ", "").adding().unwrap();
        assert_eq!((added.id.as_str(), added.name.as_str()), ("door", "Front door"));
        assert_eq!((added.url.as_deref(), added.sub_url), (Some("test:"), None));
    }

    #[test]
    fn url_left_empty_is_kept_and_the_second_one_can_be_taken_away() {
        let saved = form("door", "", "").saving().unwrap();
        assert_eq!((saved.url, saved.sub_url), (None, None));
        let form_without_sub = CameraForm { remove_sub: true, ..form("door", "", "test:") };
        assert_eq!(form_without_sub.saving().unwrap().sub_url.as_deref(), Some(""));
        let saved = form("door", "test:", "test:640x360").saving().unwrap();
        assert_eq!(
            (saved.url.as_deref(), saved.sub_url.as_deref()),
            (Some("test:"), Some("test:640x360"))
        );
    }

    #[test]
    fn form_never_shows_its_urls_in_a_log() {
        let form = form("door", "rtsp://u:s3cret@host/", "rtsp://u:s3cret@host/2");
        assert!(!format!("{form:?}").contains("s3cret"));
    }

    #[test]
    fn error_is_shown_beside_its_field() {
        let error = FormError::at(CameraField::Url, "has no host");
        assert_eq!(error.beside(CameraField::Url).as_deref(), Some("has no host"));
        assert_eq!(error.beside(CameraField::Id), None);
    }
}
