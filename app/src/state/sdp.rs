//! The two pieces of text of an ICE restart over HTTP. Must not: understand more of SDP than that.
//!
//! Source: RFC 9725 §4.3.3, RFC 8840 §9

/// Lines of the ICE of one description.
const ICE_LINES: [&str; 5] =
    ["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates", "a=ice-options:"];

/// The fragment that asks for a restart: the ICE credentials of a new offer, and the first of its
/// bundled sections. `None` when the offer has no credentials.
pub fn restart_fragment(offer: &str) -> Option<String> {
    let first = |prefix: &str| offer.lines().find(|line| line.starts_with(prefix));
    let (ufrag, pwd) = (first("a=ice-ufrag:")?, first("a=ice-pwd:")?);
    let (media, mid) = (first("m=")?, first("a=mid:")?);
    Some(format!("{ufrag}\r\n{pwd}\r\n{media}\r\n{mid}\r\n"))
}

/// The answer to the new offer: the session's `answer` with the ICE of the server's `fragment`.
/// `None` when the fragment has no credentials.
pub fn restarted_answer(answer: &str, fragment: &str) -> Option<String> {
    let new = |prefix: &'static str| fragment.lines().filter(move |line| line.starts_with(prefix));
    let (ufrag, pwd) = (new("a=ice-ufrag:").next()?, new("a=ice-pwd:").next()?);
    let mut text = String::with_capacity(answer.len() + fragment.len());
    let mut push = |line: &str| {
        text.push_str(line);
        text.push_str("\r\n");
    };
    let mut sections = 0;
    for line in answer.lines() {
        if ICE_LINES.iter().any(|prefix| line.starts_with(prefix)) {
            continue;
        }
        push(line);
        // Behind the connection line of a section, where attributes may begin.
        if line.starts_with("m=") {
            sections += 1;
        } else if sections > 0 && line.starts_with("c=") {
            push(ufrag);
            push(pwd);
            // All sections are bundled into the first.
            if sections == 1 {
                new("a=candidate:").for_each(&mut push);
                new("a=end-of-candidates").take(1).for_each(&mut push);
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\ns=-\r\na=group:BUNDLE 0 1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:new\r\na=ice-pwd:newpwd\r\n\
        a=mid:0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:new\r\n\
        a=ice-pwd:newpwd\r\na=mid:1\r\n";
    const ANSWER: &str = "v=0\r\ns=-\r\na=ice-lite\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
        c=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:old\r\na=ice-pwd:oldpwd\r\n\
        a=candidate:1 1 udp 1 10.0.0.1 8189 typ host\r\na=end-of-candidates\r\na=setup:passive\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=ice-ufrag:old\r\n\
        a=ice-pwd:oldpwd\r\n";
    const FRAGMENT: &str = "a=ice-ufrag:fresh\r\na=ice-pwd:freshpwd\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 1 10.0.0.2 8189 typ host\r\na=end-of-candidates\r\n";

    #[test]
    fn restart_names_the_new_credentials_and_the_bundles_section() {
        assert_eq!(
            restart_fragment(OFFER).unwrap(),
            "a=ice-ufrag:new\r\na=ice-pwd:newpwd\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
        );
        assert_eq!(restart_fragment("v=0\r\n"), None);
    }

    #[test]
    fn restarted_answer_keeps_everything_but_the_ice() {
        let answer = restarted_answer(ANSWER, FRAGMENT).unwrap();
        assert_eq!(answer.matches("a=ice-ufrag:fresh\r\na=ice-pwd:freshpwd\r\n").count(), 2);
        assert!(!answer.contains("old") && !answer.contains("10.0.0.1"), "{answer}");
        assert_eq!(answer.matches("10.0.0.2").count(), 1);
        for kept in ["a=ice-lite", "a=setup:passive", "a=mid:0", "a=mid:1", "m=audio 9"] {
            assert!(answer.contains(kept), "{kept} in {answer}");
        }
        assert_eq!(restarted_answer(ANSWER, "a=mid:0\r\n"), None);
    }
}
