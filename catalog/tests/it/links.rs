//! Signed links, followed as a browser does.

use bytes::Bytes;
use catalog::{
    BlobKey, BlobStore,
    blob::{PutError, VerifyError},
};
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub fn key(text: &str) -> BlobKey {
    text.parse().unwrap()
}

/// What a browser gets on a signed link.
#[derive(Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The body, which is text here.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header's value; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    }
}

/// A store, and who answers its links.
pub struct Linked {
    pub store: BlobStore,
    /// `http://127.0.0.1:3000` of the server that answers a folder's links. Without it they are read as its
    /// route reads them; an S3 store answers by itself.
    pub origin: Option<String>,
}

impl Linked {
    /// Whether links are followed over HTTP.
    pub fn is_http(&self) -> bool {
        self.origin.is_some() || matches!(self.store, BlobStore::S3(_))
    }

    /// Follows a signed link as a browser would.
    pub async fn follow(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        match &self.origin {
            Some(origin) => http("GET", &format!("{origin}{url}"), headers, b"").await,
            None => follow(&self.store, url, headers).await,
        }
    }

    /// Sends bytes to a signed link as a browser would.
    pub async fn send(&self, url: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
        let Some(origin) = &self.origin else {
            return send(&self.store, url, content_type, body).await;
        };
        let content_type = content_type.map(|mime| ("Content-Type", mime));
        http("PUT", &format!("{origin}{url}"), content_type.as_slice(), body).await
    }
}

async fn follow(store: &BlobStore, url: &str, headers: &[(&str, &str)]) -> Answer {
    match store {
        // The server's route does no more than this, ranges and conditions.
        BlobStore::Folder(store) => {
            let (path, query) = url.split_once('?').unwrap();
            match store.verify(path, query, Timestamp::now()).await {
                Ok(file) => Answer {
                    status: 200,
                    headers: vec![
                        ("content-type".into(), file.content_type),
                        ("content-disposition".into(), file.content_disposition),
                    ],
                    body: std::fs::read(file.path).unwrap(),
                },
                Err(VerifyError::NotFound) => Answer::status(404),
                Err(_) => Answer::status(403),
            }
        }
        BlobStore::S3(_) => http("GET", url, headers, b"").await,
    }
}

/// Sends bytes to a signed link as a browser would.
pub async fn send(store: &BlobStore, url: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
    match store {
        // The server's route does no more than this.
        BlobStore::Folder(store) => {
            let (path, query) = url.split_once('?').unwrap();
            let Ok(signed) = store.verify_part(path, query, Timestamp::now()) else {
                return Answer::status(403);
            };
            let write = async {
                let mut writer = store.receive(&signed).await?;
                for chunk in body.chunks(100_000) {
                    writer = writer.write(Bytes::copy_from_slice(chunk)).await?;
                }
                writer.finish().await
            };
            match write.await {
                Ok(etag) => Answer { headers: vec![("etag".into(), etag)], ..Answer::status(200) },
                Err(PutError::Gone) => Answer::status(404),
                Err(PutError::Length { .. }) => Answer::status(403),
                Err(PutError::Store(error)) => panic!("{error}"),
            }
        }
        BlobStore::S3(_) => {
            let content_type = content_type.map(|mime| ("Content-Type", mime));
            http("PUT", url, content_type.as_slice(), body).await
        }
    }
}

pub async fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let stream = TcpStream::connect(host).await.unwrap();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = match method {
        "PUT" => format!("Content-Length: {}\r\n", body.len()),
        _ => String::new(),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}Connection: close\r\n\r\n"
    );
    let (mut read, mut write) = stream.into_split();
    let mut answer = Vec::new();
    // A server that refuses may close before it has taken the body.
    let send = async {
        write.write_all(request.as_bytes()).await.unwrap();
        let _ = write.write_all(body).await;
    };
    let (_, received) = tokio::join!(send, read.read_to_end(&mut answer));
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer to {method} {url}: {received:?}"));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: answer[end + 4..].to_vec(),
    }
}
