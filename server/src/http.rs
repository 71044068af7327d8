//! Connections: accepted, limited in number and time, ended in order. Must not: know a route.

use std::{sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    client_addr::Peer,
    front::{Begun, Front},
    zero_copy::{Outgoing, Stream},
};

/// A connection that has not sent its next request's head by then is closed; browsers open another.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once; the next ones wait in the kernel's queue.
pub(crate) const MAX_CONNECTIONS: usize = 4096;
/// A connection whose reader takes nothing of an answer for so long is closed. A paused player asks for the
/// rest again when it goes on.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// After the system refused a connection (no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(500);

/// Answers requests until `token` is cancelled, then lets answers under way end. A reader may stop reading for
/// `stall_timeout`.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Front,
    stall_timeout: Duration,
    token: CancellationToken,
) {
    let stall_ms = u32::try_from(stall_timeout.as_millis()).unwrap_or(u32::MAX);
    let mut http1 = hyper::server::conn::http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = tokio::select! {
            biased;
            () = token.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            biased;
            () = token.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(error = %error, "cannot accept a connection: {error}");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Without it streamed pages wait 40 ms for an acknowledgement; a failure costs only that.
        let _ = stream.set_nodelay(true);
        // The system knows best what a reader has taken, and costs nothing until it has to end a connection.
        let _ = set_tcp_user_timeout(&stream, stall_ms);
        let (front, peer) = (front.clone(), Peer(peer.ip()));
        let outgoing = Outgoing::default();
        let announce = outgoing.clone();
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            let mut begun = front.begin(&request);
            match &mut begun {
                Begun::Done(response) => announce.announce(response.body_mut().take_announced()),
                Begun::Wait { .. } | Begun::PassOn => {
                    request.extensions_mut().insert(peer);
                }
            }
            front.finish(begun, request)
        });
        let stream = TokioIo::new(Stream::new(stream, outgoing));
        let connection = graceful.watch(http1.serve_connection(stream, service));
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                debug!(error = %error, "connection ended early: {error}");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::{Router, body::Body, routing::get};
    use bytes::Bytes;
    use futures::stream;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        time::{interval, timeout},
    };

    use super::*;
    use crate::{front, page_cache};

    /// Answers without end; the token is cancelled when the answer is given up.
    fn endless(given_up: CancellationToken) -> Router {
        let answer = move || {
            let guard = given_up.clone().drop_guard();
            let pieces = stream::unfold(guard, |guard| async move {
                Some((Ok::<_, Infallible>(Bytes::from_static(&[0; 64 << 10])), guard))
            });
            std::future::ready(Body::from_stream(pieces))
        };
        Router::new().route("/endless", get(answer))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_reader_that_stops_reading_loses_its_connection_and_a_slow_one_goes_on() {
        let ask = async |given_up: &CancellationToken| {
            let router = endless(given_up.clone());
            let (front, _folder) =
                front::tests::front(router, page_cache::Settings::default()).await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let stall_timeout = Duration::from_secs(2);
            tokio::spawn(serve(listener, front, stall_timeout, CancellationToken::new()));
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            stream
        };
        let (stalled, slow) = (CancellationToken::new(), CancellationToken::new());
        let _stalled_reader = ask(&stalled).await;
        let mut slow_reader = ask(&slow).await;
        let read_slowly = async {
            let (mut ticks, mut buffer) =
                (interval(Duration::from_millis(100)), vec![0; 256 << 10]);
            loop {
                ticks.tick().await;
                slow_reader.read_exact(&mut buffer).await.unwrap();
            }
        };
        let ended = async {
            tokio::select! {
                () = stalled.cancelled() => {}
                () = read_slowly => {}
            }
        };
        timeout(Duration::from_secs(30), ended).await.expect("it is given up");
        assert!(!slow.is_cancelled());
    }
}
