//! `rtsps://` for an RTSP client that speaks plain TCP only: a relay on the loopback interface that takes
//! one connection and carries it over TLS. Must not: read or change what passes.
//!
//! The camera sees the relay's address in request URLs; cameras go by the path.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{copy, split},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

use super::{SourceError, rtsp::REQUEST_TIMEOUT};
use crate::camera::Trust;

/// `rtsps` as registered with IANA.
const DEFAULT_PORT: u16 = 322;
/// The client speaks first, as soon as it is connected.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(2);

/// Connects to the camera; gives the `rtsp://` URL to use instead, and what carries the connection.
pub(super) async fn open(
    url: &Url,
    trust: Trust,
) -> Result<(Url, impl Future<Output = ()> + Send + use<>), SourceError> {
    let connected = timeout(REQUEST_TIMEOUT, connect(url, trust)).await;
    let camera = connected.map_err(|_| SourceError::Timeout)??;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| io_error(&e))?;
    let port = listener.local_addr().map_err(|e| io_error(&e))?.port();
    let mut local = url.clone();
    local.set_fragment(None);
    let is_local = local.set_scheme("rtsp").is_ok()
        && local.set_host(Some("127.0.0.1")).is_ok()
        && local.set_port(Some(port)).is_ok();
    if !is_local {
        return Err(SourceError::Protocol);
    }
    Ok((local, relay(listener, camera)))
}

async fn relay(listener: TcpListener, camera: TlsStream<TcpStream>) {
    let Ok(Some(client)) = timeout(REQUEST_TIMEOUT, accept(&listener)).await else { return };
    drop(listener);
    // It is loopback; when the option cannot be set nothing is worse.
    let _ = client.set_nodelay(true);
    let (mut camera_in, mut camera_out) = split(camera);
    let (mut client_in, mut client_out) = client.into_split();
    // Either side that closes ends both.
    tokio::select! {
        _ = copy(&mut camera_in, &mut client_out) => {}
        _ = copy(&mut client_in, &mut camera_out) => {}
    }
}

/// The first connection that asks for our URL; whoever else connects is passed over.
async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    let ours = format!(" rtsp://{}", listener.local_addr().ok()?);
    let mut first = [0; 128];
    loop {
        let (client, _) = listener.accept().await.ok()?;
        let Ok(Ok(len)) = timeout(FIRST_BYTES_TIMEOUT, client.peek(&mut first)).await else {
            continue;
        };
        if first[..len].windows(ours.len()).any(|bytes| bytes == ours.as_bytes()) {
            return Some(client);
        }
    }
}

async fn connect(url: &Url, trust: Trust) -> Result<TlsStream<TcpStream>, SourceError> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| SourceError::Unreachable)?;
    let config = Arc::new(client_config(trust)?);
    let port = url.port().unwrap_or(DEFAULT_PORT);
    let stream = TcpStream::connect((host, port)).await.map_err(|e| io_error(&e))?;
    // As above: only slower without.
    let _ = stream.set_nodelay(true);
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|error| {
        tracing::debug!(error = %error, "TLS with a camera failed");
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(_)) => SourceError::Certificate,
            Some(_) => SourceError::Tls,
            None => io_error(&error),
        }
    })
}

fn client_config(trust: Trust) -> Result<ClientConfig, SourceError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|_| SourceError::Tls)?;
    Ok(match trust {
        Trust::SystemRoots => {
            let mut roots = RootCertStore::empty();
            // Those that cannot be read are not trusted.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::AnyCertificate => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
    })
}

fn io_error(error: &std::io::Error) -> SourceError {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => SourceError::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => SourceError::Unreachable,
        ErrorKind::TimedOut => SourceError::Timeout,
        ErrorKind::UnexpectedEof => SourceError::Ended,
        // A name that is not found has no kind of its own.
        ErrorKind::Other => SourceError::Unreachable,
        kind => SourceError::Io(kind),
    }
}

/// Takes whatever certificate a camera shows, as `#insecure` asks for; signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_relay_is_for_the_connection_that_asks_for_its_url() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async |text: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        };
        let silent = connect("").await;
        drop(connect("").await);
        let stranger = connect("GET / HTTP/1.1\r\n\r\n").await;
        let ours = connect(&format!("DESCRIBE rtsp://{address}/live RTSP/1.0\r\n\r\n")).await;
        let client = timeout(REQUEST_TIMEOUT, accept(&listener)).await.unwrap().unwrap();
        assert_eq!(client.peer_addr().unwrap(), ours.local_addr().unwrap());
        drop((silent, stranger));
    }
}
