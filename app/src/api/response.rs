//! The response that a page or a server function is part of: its status and its headers.
//!
//! In the browser there is none, and nothing happens.

#[cfg(feature = "ssr")]
mod server {
    use std::sync::Arc;

    use axum::extract::FromRequestParts;
    use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
    use leptos::{nonce::use_nonce, prelude::use_context};
    use leptos_axum::ResponseOptions;

    use super::super::{
        CameraField, FormError, PageError,
        notice::{Notice, NoticeKind, back_to},
    };
    use crate::ssr::{
        Access, AccessDenied, Admin, Backend, CameraAdmin, CameraAdminError, MadeFrom, Operator,
        Viewer, content_security_policy,
    };

    fn set_status(status: StatusCode) {
        if let Some(response) = use_context::<ResponseOptions>() {
            response.set_status(status);
        }
    }

    /// Marks the response as 404.
    pub fn set_not_found() {
        set_status(StatusCode::NOT_FOUND);
    }

    /// Marks the response as 302, for callers whose `Accept` does not name HTML, too.
    pub fn set_found() {
        set_status(StatusCode::FOUND);
    }

    /// Sets the `Content-Security-Policy` header of a page.
    pub fn set_content_security_policy() {
        let (Some(response), Some(nonce)) = (use_context::<ResponseOptions>(), use_nonce()) else {
            return;
        };
        let backend = use_context::<Backend>();
        let media_origin = backend.as_ref().and_then(|backend| backend.media_origin.as_deref());
        match HeaderValue::try_from(content_security_policy(&nonce, media_origin)) {
            Ok(policy) => response.insert_header(header::CONTENT_SECURITY_POLICY, policy),
            // Only a media origin with control characters in it; no policy would be worse.
            Err(_) => response.insert_header(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'"),
            ),
        }
    }

    /// Lets the page use the camera, the microphone and the screen; no other page may.
    pub fn allow_camera_and_microphone() {
        if let Some(response) = use_context::<ResponseOptions>() {
            response.insert_header(
                HeaderName::from_static("permissions-policy"),
                HeaderValue::from_static(
                    "camera=(self), microphone=(self), display-capture=(self), geolocation=(), payment=(), usb=()",
                ),
            );
        }
    }

    /// Passes an outcome on; an error sets the response's status.
    pub(in super::super) fn or_status<T>(outcome: Result<T, PageError>) -> Result<T, PageError> {
        outcome.inspect_err(set_status_of)
    }

    fn set_status_of(error: &PageError) {
        set_status(match error {
            PageError::BadRequest(_) => StatusCode::BAD_REQUEST,
            PageError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            PageError::NotFound => StatusCode::NOT_FOUND,
            PageError::LoggedOut => StatusCode::UNAUTHORIZED,
            PageError::Forbidden => StatusCode::FORBIDDEN,
            PageError::Unavailable | PageError::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        });
    }

    /// Gives the answer to a server function that cannot be begun its status. A form is led back to its page,
    /// for which a status would stand in the way.
    pub fn set_status_of_refusal(error: &PageError) {
        if !use_context::<Parts>().is_some_and(|parts| is_form(&parts)) {
            set_status_of(error);
        }
    }

    /// Whether a browser sent a server function's request as a form, without the page's code.
    fn is_form(parts: &Parts) -> bool {
        let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/html"))
    }

    /// Passes a catalog's answer on; logs its error, which may say more than a viewer may know.
    pub(in super::super) fn or_unavailable<T, E: std::fmt::Display>(
        answer: Result<T, E>,
    ) -> Result<T, PageError> {
        or_status(answer.map_err(|error| {
            tracing::error!(%error, "catalog cannot answer a page");
            PageError::Unavailable
        }))
    }

    fn parts() -> Result<Parts, PageError> {
        use_context::<Parts>().ok_or(PageError::Unavailable)
    }

    async fn extract<T>() -> Result<T, PageError>
    where
        T: FromRequestParts<(), Rejection = AccessDenied>,
    {
        let mut parts = parts()?;
        T::from_request_parts(&mut parts, &()).await.map_err(|denied| match denied {
            AccessDenied::Unauthenticated => PageError::LoggedOut,
            AccessDenied::Forbidden => PageError::Forbidden,
        })
    }

    /// Goes on only for viewers.
    pub(in super::super) async fn viewer() -> Result<Viewer, PageError> {
        or_status(extract().await)
    }

    /// Goes on only for administrators.
    pub(in super::super) async fn admin() -> Result<Admin, PageError> {
        or_status(extract().await)
    }

    /// What changes cameras, for administrators, on behalf of a form.
    ///
    /// Sets no status: one would stand in the way of the redirect that answers a form without
    /// JavaScript.
    pub(in super::super) async fn camera_admin() -> Result<Arc<dyn CameraAdmin>, FormError> {
        let Admin = extract().await?;
        Ok(backend()?.camera_admin)
    }

    /// What changes assets, for operators, on behalf of a form. Sets no status, see `camera_admin`.
    pub(in super::super) async fn operator() -> Result<Backend, PageError> {
        let Operator = extract().await?;
        backend()
    }

    /// What removes assets for good, for administrators. Sets no status, see `camera_admin`.
    pub(in super::super) async fn administrator() -> Result<Backend, PageError> {
        let Admin = extract().await?;
        backend()
    }

    /// Passes an answer on to a form; logs its error.
    pub(in super::super) fn answered<T, E: std::fmt::Display>(
        answer: Result<T, E>,
    ) -> Result<T, PageError> {
        answer.map_err(|error| {
            tracing::error!(%error, "what a form asked for was not done");
            PageError::Unavailable
        })
    }

    /// Answers a form: back to its page, with what became of it. Callers that are no forms get errors
    /// as such.
    pub(in super::super) fn answer_form(
        back: &str,
        outcome: Result<Notice, PageError>,
    ) -> Result<(), PageError> {
        let is_form = is_form(&parts()?);
        let notice = match outcome {
            Ok(notice) => notice,
            Err(error) if !is_form => return or_status(Err(error)),
            Err(PageError::Forbidden) => Notice::new(NoticeKind::Forbidden),
            Err(PageError::LoggedOut) => Notice::new(NoticeKind::LoggedOut),
            Err(PageError::NotFound) => Notice::new(NoticeKind::Gone),
            Err(_) => Notice::new(NoticeKind::Unavailable),
        };
        leptos_axum::redirect(&back_to(back, &notice));
        Ok(())
    }

    /// Why a page cannot show what cameras are configured to be.
    pub(in super::super) fn or_page_error<T>(
        answer: Result<T, CameraAdminError>,
    ) -> Result<T, PageError> {
        or_status(answer.map_err(|error| match error {
            CameraAdminError::NotFound => PageError::NotFound,
            CameraAdminError::Invalid(text)
            | CameraAdminError::Conflict(text)
            | CameraAdminError::Unreachable(text) => PageError::BadRequest(text),
            CameraAdminError::Unavailable => PageError::Unavailable,
        }))
    }

    /// Why a form was not taken, beside the field that it is about.
    pub(in super::super) fn form_error(error: CameraAdminError) -> FormError {
        match error {
            CameraAdminError::NotFound => PageError::NotFound.into(),
            CameraAdminError::Invalid(text) => match text.split_once(' ') {
                Some(("url", rest)) => FormError::at(CameraField::Url, sentence("It", rest)),
                Some(("sub_url", rest)) => FormError::at(CameraField::SubUrl, sentence("It", rest)),
                Some(("name", rest)) => FormError::at(CameraField::Name, sentence("It", rest)),
                _ => FormError::new(text),
            },
            CameraAdminError::Conflict(text) => FormError::new(text),
            CameraAdminError::Unreachable(text) => FormError::at(CameraField::Url, text),
            CameraAdminError::Unavailable => PageError::Unavailable.into(),
        }
    }

    fn sentence(subject: &str, rest: &str) -> String {
        format!("{subject} {}.", rest.trim_end_matches('.'))
    }

    /// Who asks.
    pub(in super::super) fn access() -> Result<Access, PageError> {
        parts()?.extensions.get::<Access>().copied().ok_or(PageError::LoggedOut)
    }

    /// Where to note what the answer is made from.
    pub(in super::super) fn made_from() -> Result<MadeFrom, PageError> {
        Ok(parts()?.extensions.get::<MadeFrom>().cloned().unwrap_or_default())
    }

    /// What there is to read from.
    pub(in super::super) fn backend() -> Result<Backend, PageError> {
        or_unavailable(use_context::<Backend>().ok_or("no Backend in the context"))
    }
}

#[cfg(not(feature = "ssr"))]
mod browser {
    use crate::api::PageError;

    /// Nothing: the response is long here.
    pub fn set_status_of_refusal(_: &PageError) {}

    /// Nothing: the response is long here.
    pub fn set_not_found() {}

    /// Nothing: the response is long here.
    pub fn set_found() {}

    /// Nothing: the response is long here.
    pub fn set_content_security_policy() {}

    /// Nothing: the response is long here.
    pub fn allow_camera_and_microphone() {}
}

#[cfg(not(feature = "ssr"))]
pub(super) use browser::set_status_of_refusal;
#[cfg(not(feature = "ssr"))]
pub use browser::{
    allow_camera_and_microphone, set_content_security_policy, set_found, set_not_found,
};
#[cfg(feature = "ssr")]
pub(super) use server::{
    access, admin, administrator, answer_form, answered, backend, camera_admin, form_error,
    made_from, operator, or_page_error, or_status, or_unavailable, set_status_of_refusal, viewer,
};
#[cfg(feature = "ssr")]
pub use server::{
    allow_camera_and_microphone, set_content_security_policy, set_found, set_not_found,
};
