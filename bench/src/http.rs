//! The little HTTP that WHEP needs, to a server that we started ourselves.
//!
//! HTTP/1.0 on purpose: the answer then ends with the connection and is never chunked.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The `Location` header.
    pub location: Option<String>,
    /// The body, as text.
    pub body: String,
}

/// Posts an SDP offer.
///
/// # Errors
/// When the server cannot be reached or does not speak HTTP.
pub async fn post_sdp(url: &Url, sdp: &str) -> Result<Response> {
    request("POST", url, sdp).await
}

/// Deletes a session.
///
/// # Errors
/// When the server cannot be reached or does not speak HTTP.
pub async fn delete(url: &Url) -> Result<Response> {
    request("DELETE", url, "").await
}

async fn request(method: &str, url: &Url, body: &str) -> Result<Response> {
    let host = url.host_str().context("the URL names no host")?;
    let port = url.port_or_known_default().context("the URL names no port")?;
    let mut stream = TcpStream::connect((host, port)).await.context("cannot connect")?;
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let request = format!(
        "{method} {path}{query} HTTP/1.0\r\nHost: {host}:{port}\r\nContent-Type: application/sdp\r\n\
         Content-Length: {len}\r\n\r\n{body}",
        path = url.path(),
        len = body.len(),
    );
    stream.write_all(request.as_bytes()).await.context("cannot send")?;
    let mut answer = Vec::with_capacity(4096);
    stream.read_to_end(&mut answer).await.context("cannot read the answer")?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Response> {
    let text = std::str::from_utf8(answer).context("the answer is no text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of headers")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let Some(status) = status else { bail!("the answer has no status line") };
    let location = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    Ok(Response { status, location, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = b"HTTP/1.0 201 Created\r\nlocation: /whep/door/1\r\nx: y\r\n\r\nv=0\r\n";
        let expected =
            Response { status: 201, location: Some("/whep/door/1".into()), body: "v=0\r\n".into() };
        assert_eq!(parse(answer).unwrap(), expected);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(parse(b"").is_err());
        assert!(parse(b"hello\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.0 abc\r\n\r\n").is_err());
        assert!(parse(b"\xff\xfe\r\n\r\n").is_err());
    }
}
