//! The response that a page or a server function is part of: its status and its headers.
//!
//! In the browser there is none, and nothing happens.

#[cfg(feature = "ssr")]
mod server {
    use http::{HeaderValue, StatusCode, header, request::Parts};
    use leptos::{nonce::use_nonce, prelude::use_context};
    use leptos_axum::ResponseOptions;

    use super::super::PageError;
    use crate::ssr::{Access, AccessDenied, Backend, Viewer, content_security_policy};

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

    /// Passes an outcome on; an error sets the response's status.
    pub(in super::super) fn or_status<T>(outcome: Result<T, PageError>) -> Result<T, PageError> {
        outcome.inspect_err(|error| {
            set_status(match error {
                PageError::BadRequest(_) => StatusCode::BAD_REQUEST,
                PageError::NotFound => StatusCode::NOT_FOUND,
                PageError::LoggedOut => StatusCode::UNAUTHORIZED,
                PageError::Forbidden => StatusCode::FORBIDDEN,
                PageError::Unavailable | PageError::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            });
        })
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

    /// Goes on only for viewers.
    pub(in super::super) async fn viewer() -> Result<Viewer, PageError> {
        use axum::extract::FromRequestParts;
        let mut parts = parts()?;
        or_status(Viewer::from_request_parts(&mut parts, &()).await.map_err(
            |denied| match denied {
                AccessDenied::Unauthenticated => PageError::LoggedOut,
                AccessDenied::Forbidden => PageError::Forbidden,
            },
        ))
    }

    /// Who asks.
    pub(in super::super) fn access() -> Result<Access, PageError> {
        parts()?.extensions.get::<Access>().copied().ok_or(PageError::LoggedOut)
    }

    /// What there is to read from.
    pub(in super::super) fn backend() -> Result<Backend, PageError> {
        or_unavailable(use_context::<Backend>().ok_or("no Backend in the context"))
    }
}

#[cfg(not(feature = "ssr"))]
mod browser {
    /// Nothing: the response is long here.
    pub fn set_not_found() {}

    /// Nothing: the response is long here.
    pub fn set_found() {}

    /// Nothing: the response is long here.
    pub fn set_content_security_policy() {}
}

#[cfg(not(feature = "ssr"))]
pub use browser::{set_content_security_policy, set_found, set_not_found};
#[cfg(feature = "ssr")]
pub(super) use server::{access, backend, or_status, or_unavailable, viewer};
#[cfg(feature = "ssr")]
pub use server::{set_content_security_policy, set_found, set_not_found};
