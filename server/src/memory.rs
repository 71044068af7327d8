//! Memory given back to the system after a crowd of viewers has left.
//!
//! glibc keeps what was freed below something still in use: after 200 viewers some megabytes for ever.
//! Must not: run while nothing was freed; it walks the heap.

use std::{sync::Arc, time::Duration};

use domain::CameraStatus;
use tokio::sync::watch;

/// So many viewers must have left.
const CROWD: u32 = 4;
/// Others may be leaving with them, and sessions are torn down a little later.
const SETTLE: Duration = Duration::from_secs(5);

/// Gives memory back whenever some viewers have left; ends with the live plane.
pub(crate) async fn give_back_after_crowds(mut statuses: watch::Receiver<Arc<[CameraStatus]>>) {
    let mut most = 0;
    while statuses.changed().await.is_ok() {
        let viewers = viewers(&statuses.borrow_and_update());
        most = viewers.max(most);
        if viewers + CROWD > most {
            continue;
        }
        tokio::time::sleep(SETTLE).await;
        most = self::viewers(&statuses.borrow_and_update());
        // It takes some milliseconds, and threads that allocate meanwhile may wait for it.
        if tokio::task::spawn_blocking(give_back).await.is_err() {
            return;
        }
    }
}

fn viewers(statuses: &[CameraStatus]) -> u32 {
    statuses.iter().map(|camera| camera.viewers).sum()
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: takes no pointer, and is safe to call from any thread (malloc_trim(3): MT-Safe).
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}
