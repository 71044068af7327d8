//! What is answered before the router is asked: files of the build, thumbnails and pages that are kept.
//!
//! Owns: the short way of a hit, and what an asker is told of it. Must not: make an answer, or know how
//! long one is good. Everything else goes to the router, which is complete without this.
//!
//! A hit allocates little: headers are cloned from a prepared map, bodies share their bytes.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header},
    response::IntoResponse as _,
};
use bytes::Bytes;
use futures::future::Either;
use http_body::{Frame, SizeHint};
use tower::{Service, ServiceExt as _};
use tracing::debug;

use crate::{
    auth::Auth,
    cache_policy::{CachePolicy, put_security_headers},
    cors::{self, AllowedOrigin},
    error::Problem,
    page_cache::{Chosen, Content, Key, Kind, Look, Page, PageCache, Served, Target, Waited},
    site::Files,
    thumbs::ThumbCache,
    zero_copy::Announced,
};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// Path of thumbnails, before their name.
const THUMBS: &str = "/assets/thumbs/";

/// The whole application; cheap to clone.
#[derive(Debug, Clone)]
pub struct Front(Arc<Parts>);

/// What it is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) router: Router,
    pub(crate) pages: PageCache,
    pub(crate) thumbs: ThumbCache,
    pub(crate) files: Files,
    pub(crate) auth: Auth,
    /// Other sites that may ask the API.
    pub(crate) origins: Arc<[AllowedOrigin]>,
}

/// What became of a request at first sight.
pub(crate) enum Begun {
    /// It is answered.
    Done(Response<FrontBody>),
    /// Its answer must be made.
    Wait {
        key: Key,
        /// The other site that asks and may.
        origin: Option<HeaderValue>,
    },
    /// It is the router's.
    PassOn,
}

/// The answer, at once or later.
pub(crate) type Answer = Either<
    Ready<Result<Response<FrontBody>, Infallible>>,
    Pin<Box<dyn Future<Output = Result<Response<FrontBody>, Infallible>> + Send>>,
>;

impl Front {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Kept pages, to be told of changes.
    pub fn pages(&self) -> &PageCache {
        &self.0.pages
    }

    /// Looks at a request, without waiting.
    pub(crate) fn begin<B>(&self, request: &Request<B>) -> Begun {
        let method = request.method();
        if method != Method::GET && method != Method::HEAD {
            return Begun::PassOn;
        }
        let path = request.uri().path();
        let begun = if ["/assets", "/api/", "/v1/"].iter().any(|start| path.starts_with(start)) {
            self.begin_kept(request, path)
        } else if let Some(file) = self.0.files.get(path) {
            Begun::Done(answer(file, request.headers(), method))
        } else {
            Begun::PassOn
        };
        if let Begun::Done(response) = &begun {
            debug!(%method, path, status = response.status().as_u16(), "{method} {path} → kept");
        }
        begun
    }

    fn begin_kept<B>(&self, request: &Request<B>, path: &str) -> Begun {
        let headers = request.headers();
        if let Some(name) = path.strip_prefix(THUMBS) {
            let admitted = self.0.auth.access(request, None).is_some();
            return match self.0.thumbs.peek(name).filter(|_| admitted) {
                Some(thumb) => {
                    let mut response = answer(&thumb, headers, request.method());
                    response.headers_mut().insert(X_CACHE, HeaderValue::from_static("HIT"));
                    Begun::Done(response)
                }
                None => Begun::PassOn,
            };
        }
        let path_and_query = request.uri().path_and_query().map_or(path, |all| all.as_str());
        let Some(target) = Target::parse(path_and_query) else { return Begun::PassOn };
        let origin = match target.kind {
            Kind::Api => cors::allowed_origin(&self.0.origins, headers),
            Kind::Page => None,
        };
        // Who is not let in is answered by the router, which says why.
        let cross_origin = origin.as_ref().map(|_| cors::CrossOrigin);
        let Some(access) = self.0.auth.access(request, cross_origin) else { return Begun::PassOn };
        let key = Key::text(access, &target);
        match self.0.pages.look(&key) {
            Look::Serve(page, served) => {
                Begun::Done(self.serve(&page, served, headers, request.method(), origin))
            }
            Look::Wait => Begun::Wait { key: Key::from_text(key), origin },
        }
    }

    /// Goes on with a request that was begun.
    pub(crate) fn finish<B>(&self, begun: Begun, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let front = self.clone();
        match begun {
            Begun::Done(response) => Either::Left(ready(Ok(response))),
            Begun::PassOn => Either::Right(Box::pin(async move { front.pass_on(request).await })),
            Begun::Wait { key, origin } => Either::Right(Box::pin(async move {
                match front.0.pages.wait(&key).await {
                    Waited::Serve(page, served) => {
                        let (headers, method) = (request.headers(), request.method());
                        Ok(front.serve(&page, served, headers, method, origin))
                    }
                    Waited::PassOn => front.pass_on(request).await,
                    Waited::Busy => Ok(busy()),
                }
            })),
        }
    }

    async fn pass_on<B>(&self, request: Request<B>) -> Result<Response<FrontBody>, Infallible>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let may_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
            && !cors::is_signalling(request.uri().path());
        let response = self.0.router.clone().oneshot(request.map(Body::new)).await?;
        if may_change {
            // Who changed something and asks next sees it.
            self.0.pages.settle().await;
        }
        Ok(response.map(FrontBody::made))
    }

    fn serve(
        &self,
        page: &Page,
        served: Served,
        headers: &HeaderMap,
        method: &Method,
        origin: Option<HeaderValue>,
    ) -> Response<FrontBody> {
        self.0.pages.ask_for_brotli(page, headers);
        let mut response = answer(&page.content, headers, method);
        let told = response.headers_mut();
        told.insert(X_CACHE, x_cache(served));
        told.insert(CACHE_STATUS, cache_status(served));
        if let Some(origin) = origin {
            cors::tell_origin(told, origin);
        }
        response
    }
}

impl<B> Service<Request<B>> for Front
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<FrontBody>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let begun = self.begin(&request);
        self.finish(begun, request)
    }
}

fn busy() -> Response<FrontBody> {
    let text = "there is too much to do; try again";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after_secs(1);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, CachePolicy::NoStore.header());
    put_security_headers(response.headers_mut());
    response.map(FrontBody::made)
}

/// A content as an answer to who sent these headers.
fn answer(content: &Content, headers: &HeaderMap, method: &Method) -> Response<FrontBody> {
    let (status, told, body) = match content.choose(headers) {
        Chosen::NotModified(variant) => {
            (StatusCode::NOT_MODIFIED, variant.not_modified_headers(), FrontBody::empty())
        }
        Chosen::Whole(variant) if method == Method::HEAD => {
            (content.status, variant.headers.clone(), FrontBody::empty())
        }
        Chosen::Whole(variant) => {
            let announced = variant.prepared.announce(&variant.body);
            let body = Some(variant.body.clone()).filter(|body| !body.is_empty());
            (content.status, variant.headers.clone(), FrontBody(Sent::Kept { body, announced }))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = told;
    response
}

/// The same for a handler; `HEAD` is the router's affair there.
pub(crate) fn answer_in_router(content: &Content, headers: &HeaderMap) -> Response<Body> {
    answer(content, headers, &Method::GET).map(Body::new)
}

/// The word that the owner's other tools look for.
fn x_cache(served: Served) -> HeaderValue {
    HeaderValue::from_static(match served {
        Served::Hit { .. } => "HIT",
        Served::Stale { .. } | Served::AfterFailure { .. } => "STALE",
        Served::Made { was_kept: true, .. } => "REVALIDATED",
        Served::Made { was_kept: false, .. } => "MISS",
    })
}

/// Texts of hits, written once.
static HITS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let text = |ttl_secs: usize| format!("damwall; hit; ttl={ttl_secs}");
    (0..=60).filter_map(|ttl_secs| HeaderValue::try_from(text(ttl_secs)).ok()).collect()
});

/// Source: RFC 9211.
fn cache_status(served: Served) -> HeaderValue {
    let text = match served {
        Served::Hit { ttl_secs } => {
            let at = usize::try_from(ttl_secs).ok();
            if let Some(hit) = at.and_then(|at| HITS.get(at)) {
                return hit.clone();
            }
            format!("damwall; hit; ttl={ttl_secs}")
        }
        Served::Stale { ttl_secs } => format!("damwall; hit; ttl={ttl_secs}"),
        Served::AfterFailure { ttl_secs } => {
            format!("damwall; hit; ttl={ttl_secs}; detail=render-failed")
        }
        Served::Made { was_kept, collapsed, is_kept } => {
            let why = if was_kept { "stale" } else { "uri-miss" };
            let stored = if is_kept { "; stored" } else { "" };
            let collapsed = if collapsed { "; collapsed" } else { "" };
            format!("damwall; fwd={why}{stored}{collapsed}")
        }
    };
    HeaderValue::try_from(text).expect("printable ASCII is a header value")
}

/// A body that is kept, or one that the router made.
#[derive(Debug)]
pub struct FrontBody(Sent);

#[derive(Debug)]
enum Sent {
    /// In one piece.
    Kept { body: Option<Bytes>, announced: Option<Announced> },
    /// As it comes.
    Made(Body),
}

impl FrontBody {
    fn empty() -> Self {
        Self(Sent::Kept { body: None, announced: None })
    }

    fn made(body: Body) -> Self {
        Self(Sent::Made(body))
    }

    /// What the connection can send without copying it.
    pub(crate) fn take_announced(&mut self) -> Option<Announced> {
        match &mut self.0 {
            Sent::Kept { announced, .. } => announced.take(),
            Sent::Made(_) => None,
        }
    }
}

impl http_body::Body for FrontBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.get_mut().0 {
            Sent::Kept { body, .. } => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Sent::Made(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Sent::Kept { body, .. } => body.is_none(),
            Sent::Made(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Sent::Kept { body, .. } => {
                SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64)
            }
            Sent::Made(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::future::poll_fn;

    use app::ssr::MadeFrom;
    use axum::routing::get;
    use catalog::{
        BlobStore, Catalog, CatalogUrl, Tag,
        blob::{FolderStore, LinkSecret},
    };
    use futures::future::{FutureExt as _, join_all};
    use tempfile::TempDir;
    use tokio::sync::{Semaphore, watch};

    use super::*;
    use crate::{
        page_cache::{FLIGHTS_MAX, RENDERS_AT_ONCE, Settings},
        site,
    };

    /// Before a router that also makes the pages; with the folder of its catalog.
    pub(crate) async fn front(router: Router, settings: Settings) -> (Front, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = CatalogUrl::Sqlite(folder.path().join("catalog.sqlite"));
        let catalog = Catalog::open(&url).await.unwrap();
        let store = FolderStore::open(folder.path(), LinkSecret::new([1; 32])).unwrap();
        let clock = settings.clock.clone();
        let front = Front::new(Parts {
            pages: PageCache::new(router.clone(), settings),
            router,
            thumbs: ThumbCache::new(catalog, BlobStore::Folder(store), None, true, clock),
            files: Files::read(&site::options(folder.path())),
            auth: Auth::open(Vec::new()),
            origins: Arc::default(),
        });
        (front, folder)
    }

    #[tokio::test]
    async fn few_renders_run_at_once_and_who_comes_when_too_many_wait_is_sent_away() {
        let gate = Arc::new(Semaphore::new(0));
        // Renders that run, and the most there were.
        let (count, mut counted) = watch::channel((0, 0));
        let count = Arc::new(count);
        let handler = {
            let gate = gate.clone();
            move |made_from: MadeFrom| async move {
                made_from.note(Tag::Assets);
                count.send_modify(|(now, most)| {
                    *now += 1;
                    *most = (*now).max(*most);
                });
                gate.acquire().await.unwrap().forget();
                count.send_modify(|(now, _)| *now -= 1);
                "made"
            }
        };
        let router = Router::new().route("/assets", get(handler));
        let (mut front, _folder) = front(router, Settings::default()).await;
        let mut ask = |number: usize| {
            let request = Request::get(format!("/assets?q={number}")).header("host", "localhost");
            front.call(request.body(Body::empty()).unwrap()).map(Result::unwrap)
        };
        let mut askers = join_all((0..FLIGHTS_MAX).map(&mut ask));
        // Once: each has its place then.
        poll_fn(|context| Poll::Ready(askers.poll_unpin(context).is_pending())).await;

        let busy = ask(FLIGHTS_MAX).await;
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(busy.headers()["retry-after"], "1");
        assert_eq!(busy.headers()["content-type"], "application/problem+json");
        assert_eq!(busy.headers()["cache-control"], "private, no-store");
        assert_eq!(busy.headers()["x-content-type-options"], "nosniff");

        counted.wait_for(|(now, _)| *now >= RENDERS_AT_ONCE).await.unwrap();
        gate.add_permits(FLIGHTS_MAX);
        let answers = askers.await;
        assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!(*counted.borrow(), (0, RENDERS_AT_ONCE));
        gate.add_permits(1);
        assert_eq!(ask(FLIGHTS_MAX).await.status(), StatusCode::OK, "there is room again");
    }

    #[test]
    fn an_asker_is_told_what_the_cache_did() {
        let made = |was_kept, collapsed, is_kept| Served::Made { was_kept, collapsed, is_kept };
        for (served, x, status) in [
            (Served::Hit { ttl_secs: 37 }, "HIT", "damwall; hit; ttl=37"),
            (Served::Stale { ttl_secs: -5 }, "STALE", "damwall; hit; ttl=-5"),
            (
                Served::AfterFailure { ttl_secs: -5 },
                "STALE",
                "damwall; hit; ttl=-5; detail=render-failed",
            ),
            (made(false, false, true), "MISS", "damwall; fwd=uri-miss; stored"),
            (made(false, true, false), "MISS", "damwall; fwd=uri-miss; collapsed"),
            (made(true, true, true), "REVALIDATED", "damwall; fwd=stale; stored; collapsed"),
        ] {
            assert_eq!(x_cache(served), x);
            assert_eq!(cache_status(served), status);
        }
    }
}
