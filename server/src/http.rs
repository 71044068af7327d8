//! Connections: accepted, limited in number and time, ended in order. Must not: know a route.

use std::{sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
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
/// After the system refused a connection (no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(500);

/// Answers requests until `token` is cancelled, then lets answers under way end.
pub(crate) async fn serve(listener: TcpListener, front: Front, token: CancellationToken) {
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
