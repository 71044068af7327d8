//! The offer of a viewer, and what the server's answer says. Must not: be a whole SDP parser.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};

/// What goes into an offer.
#[derive(Debug)]
pub struct Local<'a> {
    /// ICE user fragment.
    pub ufrag: &'a str,
    /// ICE password.
    pub pwd: &'a str,
    /// SHA-256 of the certificate, `AB:CD:…`.
    pub fingerprint: &'a str,
    /// Our one candidate.
    pub addr: SocketAddr,
}

/// An offer to receive H.264, as a browser makes it but without header extensions. `setup:active`: the
/// server is the DTLS server, whichever it is.
pub fn offer(local: &Local<'_>) -> String {
    let Local { ufrag, pwd, fingerprint, addr } = local;
    let (ip, port) = (addr.ip(), addr.port());
    format!(
        "v=0\r\no=- {session} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         a=msid-semantic: WMS\r\n\
         m=video {port} UDP/TLS/RTP/SAVPF 102 103 104 105\r\nc=IN IP4 {ip}\r\n\
         a=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:active\r\na=mid:0\r\na=recvonly\r\n\
         a=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 ccm fir\r\na=rtcp-fb:102 nack\r\n\
         a=rtcp-fb:102 nack pli\r\n\
         a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
         a=rtpmap:104 H264/90000\r\na=rtcp-fb:104 ccm fir\r\na=rtcp-fb:104 nack\r\n\
         a=rtcp-fb:104 nack pli\r\n\
         a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f\r\n\
         a=rtpmap:105 rtx/90000\r\na=fmtp:105 apt=104\r\n",
        session = rand::random::<u32>(),
    )
}

/// What a viewer has to know of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's ICE user fragment.
    pub ufrag: String,
    /// The server's ICE password.
    pub pwd: String,
    /// Where to send: its candidate on loopback if there is one, else its first IPv4 one.
    pub addr: SocketAddr,
    /// Payload types of H.264: what is counted. Retransmissions have another.
    pub payload_types: Vec<u8>,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// Names what is missing or refused.
    pub fn parse(sdp: &str) -> Result<Self> {
        let lines = || sdp.lines().map(str::trim_end);
        let value = |name: &str| lines().find_map(|line| line.strip_prefix(name));
        let video = value("m=video ").context("the answer has no video")?;
        if video.starts_with("0 ") {
            bail!("the answer refuses the video");
        }
        if value("a=setup:") != Some("passive") {
            bail!("the answer does not make the server the DTLS server");
        }
        let candidates: Vec<SocketAddr> =
            lines().filter_map(|line| candidate(line.strip_prefix("a=candidate:")?)).collect();
        let is_loopback = |addr: &&SocketAddr| addr.ip().is_loopback();
        Ok(Self {
            ufrag: value("a=ice-ufrag:").context("the answer has no ice-ufrag")?.to_owned(),
            pwd: value("a=ice-pwd:").context("the answer has no ice-pwd")?.to_owned(),
            addr: *candidates
                .iter()
                .find(is_loopback)
                .or(candidates.first())
                .context("the answer has no UDP candidate with an IPv4 address")?,
            payload_types: lines().filter_map(h264_payload_type).collect(),
        })
    }
}

/// Address of an `a=candidate:` value if it is UDP over IPv4 (RFC 8839 §5.1).
fn candidate(value: &str) -> Option<SocketAddr> {
    let mut words = value.split(' ').skip(1);
    let (component, transport) = (words.next()?, words.next()?);
    let _priority = words.next()?;
    let ip: IpAddr = words.next()?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    let is_udp = component == "1" && transport.eq_ignore_ascii_case("udp");
    (is_udp && ip.is_ipv4()).then_some(SocketAddr::new(ip, port))
}

fn h264_payload_type(line: &str) -> Option<u8> {
    let (payload_type, codec) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
    codec.to_ascii_uppercase().starts_with("H264/").then(|| payload_type.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FINGERPRINT: &str = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
        10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";
    const ANSWER: &str = "v=0\r\ns=-\r\na=group:BUNDLE 0\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=setup:passive\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:0123456789012345678901\r\na=rtpmap:102 H264/90000\r\na=rtpmap:103 rtx/90000\r\n\
        a=candidate:1 1 tcp 1671430143 127.0.0.1 8555 typ host tcptype passive\r\n\
        a=candidate:2 1 udp 2130706431 2001:db8::1 8555 typ host\r\n\
        a=candidate:3 1 udp 2130706431 192.0.2.1 8555 typ host\r\n\
        a=candidate:4 1 udp 2130706431 127.0.0.1 8556 typ host\r\n";

    #[test]
    fn the_candidate_on_loopback_is_taken_first() {
        let answer = Answer::parse(ANSWER).unwrap();
        assert_eq!(answer.addr.to_string(), "127.0.0.1:8556");
        assert_eq!((answer.ufrag.as_str(), answer.payload_types), ("abcd", vec![102]));
        let elsewhere = ANSWER.replace("127.0.0.1 8556", "192.0.2.2 1");
        assert_eq!(Answer::parse(&elsewhere).unwrap().addr.to_string(), "192.0.2.1:8555");
    }

    #[test]
    fn an_answer_that_cannot_be_used_says_why() {
        let check = |from: &str, to: &str, word: &str| {
            let error = Answer::parse(&ANSWER.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        check("m=video 9", "m=video 0", "refuses");
        check("setup:passive", "setup:active", "DTLS");
        check("ice-ufrag", "x", "ufrag");
        check(" udp ", " tcp ", "candidate");
    }

    #[test]
    fn our_own_server_answers_the_offer() {
        let addr = "127.0.0.1:4000".parse().unwrap();
        let local =
            Local { ufrag: "abcd", pwd: "0123456789012345678901", fingerprint: FINGERPRINT, addr };
        media::sansio::sdp::Description::parse(offer(&local).as_bytes()).unwrap();
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(at in 0usize..700, cut in 0usize..40, insert in "[\\x00-\\x7f]{0,20}") {
            let mut text = ANSWER.to_owned();
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &insert);
            let _ = Answer::parse(&text);
        }
    }
}
