//! Bodies given to the kernel by reference: a long body that is sent again and again lies in a memory file
//! too, and `sendfile` takes it from there without copying it.
//!
//! hyper writes a head and a body with one `writev`, which copies both. [`Stream`] sees the slices that hyper
//! writes, and replaces the one that is the announced body. Must not: change what is sent.

use std::{
    fs::File,
    io::{self, IoSlice, Write as _},
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// Shorter bodies are copied faster than they are looked up.
const BODY_MIN_BYTES: usize = 24 << 10;
/// A body that was sent so often gets a file.
const SENT_MIN: u32 = 8;
/// Files at once: each is a file descriptor.
const FILES_MAX: usize = 64;
/// More of the answer follows. Source: `send(2)`.
const MSG_MORE: i32 = 0x8000;

static FILES: AtomicUsize = AtomicUsize::new(0);

/// The memory file of one body, once it is worth one.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    sent: AtomicU32,
    file: OnceLock<Option<Arc<MemoryFile>>>,
}

#[derive(Debug)]
struct MemoryFile(File);

impl Drop for MemoryFile {
    fn drop(&mut self) {
        FILES.fetch_sub(1, Relaxed);
    }
}

impl MemoryFile {
    /// `None` when there are enough, or the system has none to give.
    fn make(body: &[u8]) -> Option<Arc<Self>> {
        if FILES.fetch_add(1, Relaxed) >= FILES_MAX {
            FILES.fetch_sub(1, Relaxed);
            return None;
        }
        let file = memfd_create("damwall page", MemfdFlags::CLOEXEC).map(File::from);
        // From here on its drop counts.
        let Ok(mut file) = file.map(Self) else {
            FILES.fetch_sub(1, Relaxed);
            return None;
        };
        file.0.write_all(body).ok()?;
        Some(Arc::new(file))
    }
}

/// A body that is about to be written on a connection.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    body: Bytes,
    file: Arc<MemoryFile>,
}

impl Prepared {
    /// What to announce before this body is sent; `None` when it is to be copied.
    pub(crate) fn announce(&self, body: &Bytes) -> Option<Announced> {
        if body.len() < BODY_MIN_BYTES {
            return None;
        }
        let file = match self.file.get() {
            Some(file) => file,
            None if self.sent.fetch_add(1, Relaxed) < SENT_MIN => return None,
            None => self.file.get_or_init(|| MemoryFile::make(body)),
        };
        Some(Announced { body: body.clone(), file: file.clone()? })
    }
}

impl Announced {
    /// Where in the body a slice lies, if it is a part of its very memory.
    fn offset(&self, slice: &[u8]) -> Option<u64> {
        let offset = slice.as_ptr().addr().checked_sub(self.body.as_ptr().addr())?;
        let is_inside = !slice.is_empty() && offset.checked_add(slice.len())? <= self.body.len();
        is_inside.then_some(offset as u64)
    }
}

/// Where a connection's service announces what its stream is to write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing(Arc<Mutex<Option<Announced>>>);

impl Outgoing {
    pub(crate) fn announce(&self, announced: Option<Announced>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = announced;
    }

    /// The first of these slices that is a part of what was announced.
    fn find(&self, slices: &[IoSlice<'_>]) -> Option<(usize, u64, Arc<MemoryFile>)> {
        let announced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let announced = announced.as_ref()?;
        slices
            .iter()
            .enumerate()
            .find_map(|(at, slice)| Some((at, announced.offset(slice)?, announced.file.clone())))
    }
}

/// A connection that sends announced bodies without copying them.
#[derive(Debug)]
pub(crate) struct Stream {
    stream: TcpStream,
    outgoing: Outgoing,
}

impl Stream {
    pub(crate) fn new(stream: TcpStream, outgoing: Outgoing) -> Self {
        Self { stream, outgoing }
    }

    /// Writes the slices before `at`, then that one from its file. May write less, as every write may.
    fn write_with_file(
        &self,
        slices: &[IoSlice<'_>],
        at: usize,
        offset: u64,
        file: &MemoryFile,
    ) -> io::Result<usize> {
        let mut written = 0;
        for slice in slices[..at].iter().filter(|slice| !slice.is_empty()) {
            let send = || SockRef::from(&self.stream).send_with_flags(slice, MSG_MORE);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Ok(len) if len == slice.len() => written += len,
                Ok(len) => return Ok(written + len),
                Err(error) => return if written > 0 { Ok(written) } else { Err(error) },
            }
        }
        let Some(len) = NonZeroUsize::new(slices[at].len()) else { return Ok(written) };
        let mut offset = offset;
        let send = || Ok(sendfile(&self.stream, &file.0, Some(&mut offset), len.get())?);
        match self.stream.try_io(Interest::WRITABLE, send) {
            Ok(len) => Ok(written + len),
            Err(_) if written > 0 => Ok(written),
            Err(error) => Err(error),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some((at, offset, file)) = this.outgoing.find(slices) else {
            return Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        };
        loop {
            ready!(this.stream.poll_write_ready(context))?;
            match this.write_with_file(slices, at, offset, &file) {
                // Not ready after all: asks to be woken.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn what_arrives_is_what_was_written_however_slowly_it_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        // Longer than what a socket takes at once.
        let body: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into();
        let prepared = Prepared::default();
        while prepared.announce(&body).is_none() {}
        let writer = tokio::spawn({
            let body = body.clone();
            async move {
                let outgoing = Outgoing::default();
                let stream = listener.accept().await.unwrap().0;
                let mut stream = Stream::new(stream, outgoing.clone());
                for _ in 0..3 {
                    outgoing.announce(prepared.announce(&body));
                    let (mut head, mut rest) = (&b"head"[..], &body[..]);
                    while !head.is_empty() || !rest.is_empty() {
                        let slices = [IoSlice::new(head), IoSlice::new(rest)];
                        let len = stream.write_vectored(&slices).await.unwrap();
                        let of_head = len.min(head.len());
                        (head, rest) = (&head[of_head..], &rest[len - of_head..]);
                    }
                    outgoing.announce(None);
                    stream.write_all(b"tail").await.unwrap();
                }
            }
        });
        let mut read = Vec::new();
        TcpStream::connect(addr).await.unwrap().read_to_end(&mut read).await.unwrap();
        writer.await.unwrap();
        assert!(read == [&b"head"[..], &body, b"tail"].concat().repeat(3));
    }

    #[test]
    fn only_the_bodys_own_memory_is_taken_for_it() {
        let body = Bytes::from(vec![7; BODY_MIN_BYTES]);
        let prepared = Prepared::default();
        for _ in 0..SENT_MIN {
            assert!(prepared.announce(&body).is_none(), "not worth it yet");
        }
        let announced = prepared.announce(&body).unwrap();
        assert_eq!(announced.offset(&body[100..]), Some(100));
        assert_eq!(announced.offset(&vec![7; BODY_MIN_BYTES]), None);
        assert_eq!(announced.offset(&body[..0]), None);
        assert!(Prepared::default().announce(&Bytes::from_static(b"short")).is_none());
    }
}
