//! Another server to pull cameras from: the least HTTP there can be, and Damwall's own WHEP behind it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use media::{
    egress::handle::{CreateError, Resource, SessionKind},
    live::Live,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{LOCAL, start, wait_for};

type Answer = Response<Full<Bytes>>;

/// A response without more than a status and a header.
pub fn answer(status: u16, header: (&str, &str), body: String) -> Answer {
    let response = Response::builder().status(status).header(header.0, header.1);
    response.body(Full::new(body.into())).unwrap()
}

/// An HTTP server on this machine; ends, with its connections, when dropped.
pub struct HttpServer {
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpServer {
    pub async fn start(
        port: u16,
        handle: impl Fn(Request<Incoming>) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(port, None, handle).await
    }

    async fn listen(
        port: u16,
        tls: Option<TlsAcceptor>,
        handle: impl Fn(Request<Incoming>) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((LOCAL, port)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let handle = Arc::new(handle);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, handle) = (tls.clone(), handle.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve_connection(stream, &*handle).await,
                        // A client that does not trust us ends the handshake.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve_connection(stream, &*handle).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, task }
    }
}

fn tls_acceptor(pem: &str) -> TlsAcceptor {
    let certificates = CertificateDer::pem_file_iter(pem).unwrap();
    let certificates = certificates.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(pem).unwrap();
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key);
    Arc::new(config.unwrap()).into()
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    handle: impl Fn(Request<Incoming>) -> BoxFuture<'static, Answer>,
) {
    let service = service_fn(move |request| {
        let answer = handle(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    // Clients may break off as they like.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A Damwall with one camera, a test pattern, that may be pulled.
pub struct Origin {
    pub live: Arc<Live>,
    pub http: HttpServer,
    scheme: &'static str,
    /// Sessions that were ended by DELETE.
    pub deleted: Arc<AtomicUsize>,
}

impl Origin {
    pub async fn start(port: u16) -> Self {
        Self::at(port, None, "test:320x180").await
    }

    /// With another camera.
    pub async fn of(source: &str) -> Self {
        Self::at(0, None, source).await
    }

    /// Over TLS, with the certificate and key of a file.
    pub async fn start_tls(pem: &str) -> Self {
        Self::at(0, Some(tls_acceptor(pem)), "test:320x180").await
    }

    async fn at(port: u16, tls: Option<TlsAcceptor>, source: &str) -> Self {
        let live = Arc::new(start(source).await);
        wait_for(&live, domain::CameraState::is_live).await;
        let scheme = if tls.is_some() { "whep+https" } else { "whep+http" };
        let deleted = Arc::new(AtomicUsize::new(0));
        let (of_http, count) = (live.clone(), deleted.clone());
        let http = HttpServer::listen(port, tls, move |request| {
            Box::pin(serve(of_http.clone(), count.clone(), request))
        })
        .await;
        Self { live, http, scheme, deleted }
    }

    pub fn url(&self) -> String {
        format!("{}://{}/whep/door", self.scheme, self.http.addr)
    }

    pub async fn stop(self) {
        drop(self.http);
        self.live.close_viewers().await;
        self.live.close_cameras().await;
    }
}

async fn serve(live: Arc<Live>, deleted: Arc<AtomicUsize>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches("/whep/").split('/').collect();
    let camera = parts[0].parse().unwrap();
    match (request.method().clone(), parts.get(1)) {
        (Method::POST, None) => {
            let offer = request.into_body().collect().await.unwrap().to_bytes();
            match live.rtc().create(&camera, &offer, LOCAL).await {
                Ok(created) => {
                    let location = format!("door/{}", created.secret.expose());
                    answer(201, ("location", &location), created.sdp)
                }
                Err(CreateError::NotLive) => answer(409, ("retry-after", "1"), String::new()),
                Err(error) => panic!("our own offer is answered: {error}"),
            }
        }
        (Method::DELETE, Some(secret)) => {
            let secret = (*secret).to_owned().into();
            let resource = Resource { kind: SessionKind::Viewer, camera, secret };
            if live.rtc().delete(&resource).await {
                deleted.fetch_add(1, Ordering::SeqCst);
            }
            answer(200, ("allow", "DELETE"), String::new())
        }
        other => panic!("unexpected request {other:?}"),
    }
}
