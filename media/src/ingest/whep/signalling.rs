//! The HTTP half of a WHEP client: an offer posted, an answer taken, the session deleted.
//!
//! Must not: look into SDP. Credentials go to the configured origin only, wherever a redirect may point; a
//! session is deleted only where it was made.
//!
//! Source: draft-ietf-wish-whep §4; RFC 9725 §4.5 (redirects are 307).

use std::{error::Error as _, io::ErrorKind, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT},
};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::time::timeout;
use url::Url;

use crate::{
    camera::WhepUrl,
    ingest::SourceError,
    sansio::whep_answer::{location, session_url},
};

/// An origin may have to wake its camera first; ours takes up to 8 s for that.
const OFFER_TIMEOUT: Duration = Duration::from_secs(15);
/// Most redirects followed.
const MAX_REDIRECTS: usize = 3;
/// Most bytes of an answer read.
const MAX_ANSWER_BYTES: usize = 256 << 10;

/// What an origin made of an offer.
#[derive(Debug)]
pub(super) struct Answer {
    /// SDP.
    pub(super) sdp: String,
    /// To be deleted at the end, of the server that answered; go2rtc names none.
    pub(super) resource: Option<Url>,
}

/// Speaks with one origin.
#[derive(Clone)]
pub(super) struct Signalling {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Url,
    authorization: Option<HeaderValue>,
}

impl Signalling {
    /// Reads the system's root certificates; does not connect.
    ///
    /// # Errors
    /// [`SourceError::NoRoots`] when there are none and the endpoint needs them.
    pub(super) async fn new(url: &WhepUrl) -> Result<Self, SourceError> {
        let config = if url.url.scheme() == "https" {
            // The roots may be some hundred files: not on the live runtime.
            tokio::task::spawn_blocking(with_native_roots)
                .await
                .map_err(|_| SourceError::NoRoots)??
        } else {
            tls_config()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build();
        let authorization = url.authorization.as_deref().and_then(|text| {
            let mut value = HeaderValue::from_str(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, endpoint: url.url.clone(), authorization })
    }

    /// Posts an SDP offer.
    ///
    /// # Errors
    /// When the origin cannot be reached, has no such camera, or does not want to give it now.
    pub(super) async fn offer(&self, sdp: String) -> Result<Answer, SourceError> {
        let exchange = async {
            let body = Bytes::from(sdp);
            let mut url = self.endpoint.clone();
            for _ in 0..=MAX_REDIRECTS {
                let response = self.send(Method::POST, &url, body.clone()).await?;
                if response.status() != StatusCode::TEMPORARY_REDIRECT {
                    return self.read_answer(&url, response).await;
                }
                let redirect = location_header(&response).and_then(|to| location(&url, to));
                url = redirect.ok_or(SourceError::Origin)?;
            }
            Err(SourceError::Origin)
        };
        timeout(OFFER_TIMEOUT, exchange).await.unwrap_or(Err(SourceError::Timeout))
    }

    /// Ends a session. That it could not be ended is nobody's business: the origin times it out.
    pub(super) async fn delete(&self, resource: &Url) {
        match self.send(Method::DELETE, resource, Bytes::new()).await {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => {
                tracing::debug!(status = %response.status(), "WHEP session not deleted")
            }
            Err(error) => tracing::debug!(%error, "WHEP session not deleted"),
        }
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Bytes,
    ) -> Result<Response<Incoming>, SourceError> {
        let mut request = Request::builder()
            .method(&method)
            .uri(url.as_str())
            .header(USER_AGENT, concat!("Damwall/", env!("CARGO_PKG_VERSION")));
        if method == Method::POST {
            request =
                request.header(CONTENT_TYPE, "application/sdp").header(ACCEPT, "application/sdp");
        }
        if let Some(authorization) = &self.authorization
            && url.origin() == self.endpoint.origin()
        {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|_| SourceError::Origin)?;
        self.client.request(request).await.map_err(|error| classify(&error))
    }

    async fn read_answer(
        &self,
        url: &Url,
        response: Response<Incoming>,
    ) -> Result<Answer, SourceError> {
        match response.status() {
            StatusCode::CREATED | StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(SourceError::Unauthorized);
            }
            StatusCode::NOT_FOUND => return Err(SourceError::NoSuchStream),
            // A plain refusal from MediaMTX, a counter-offer from others.
            StatusCode::NOT_ACCEPTABLE => return Err(SourceError::OfferRefused),
            StatusCode::CONFLICT => return Err(SourceError::OriginNotLive),
            StatusCode::SERVICE_UNAVAILABLE => return Err(SourceError::OriginFull),
            status => return Err(SourceError::HttpStatus(status.as_u16())),
        }
        let session = location_header(&response);
        let resource = session.and_then(|session| session_url(url, session));
        if session.is_some() && resource.is_none() {
            tracing::warn!(
                "a WHEP origin names a session that is not its own; it will not be deleted"
            );
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let body = body.collect().await.map_err(|_| SourceError::Origin)?.to_bytes();
        let sdp = String::from_utf8(body.into()).map_err(|_| SourceError::Origin)?;
        Ok(Answer { sdp, resource })
    }
}

fn location_header<B>(response: &Response<B>) -> Option<&str> {
    response.headers().get(LOCATION)?.to_str().ok()
}

fn tls_config() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, SourceError> {
    // Named, so that no other crate's choice of a process-wide default matters.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|_| SourceError::NoRoots)
}

fn with_native_roots() -> Result<ClientConfig, SourceError> {
    let config = tls_config()?.with_native_roots().map_err(|_| SourceError::NoRoots)?;
    Ok(config.with_no_client_auth())
}

/// A sentence for people; the details are for the debug log, where the address may be.
fn classify(error: &hyper_util::client::legacy::Error) -> SourceError {
    tracing::debug!(?error, "WHEP request failed");
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match (tls_error(io), io.kind()) {
                (Some(rustls::Error::InvalidCertificate(_)), _) => return SourceError::NotTrusted,
                (Some(_), _) => return SourceError::Tls,
                (_, ErrorKind::ConnectionRefused) => return SourceError::Refused,
                (_, ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                    return SourceError::Unreachable;
                }
                _ => {}
            }
        }
        // hyper-util's resolver error has no type of its own.
        if error.to_string().contains("dns error") {
            return SourceError::Unreachable;
        }
        cause = error.source();
    }
    if error.is_connect() { SourceError::Unreachable } else { SourceError::Origin }
}

/// What TLS found wrong: hyper-rustls has it in an I/O error within another, which `source` steps over.
fn tls_error(io: &std::io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    inner.downcast_ref().or_else(|| tls_error(inner.downcast_ref()?))
}
