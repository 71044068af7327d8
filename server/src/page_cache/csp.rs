//! Inline scripts allowed by what they say, instead of by a nonce. Pure.
//!
//! Leptos marks its inline scripts with a nonce that is new at each render. In a page that is kept, every
//! asker would get the same one, and whoever has seen it once could use it: a nonce that is known is worth
//! `unsafe-inline`. So the nonce is used once, here, to find the scripts that the render itself put in
//! (nobody could guess it and write such a tag into an asset's name), and is then replaced: the policy
//! names the SHA-256 of each script. It also makes two renders of the same thing the same bytes, so that
//! entity tags and compressed bodies outlive a render. Source: CSP Level 3 §6.7.3 (hashes).

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A page without its nonce, and the policy that allows its scripts. `None` when the policy has no nonce
/// and both stay as they are.
pub(crate) fn by_hash(page: &str, policy: &str) -> Option<(String, String)> {
    let nonce = nonce(policy)?;
    let mark = format!(" nonce=\"{nonce}\"");
    let (mut text, mut rest) = (String::with_capacity(page.len()), page);
    let (mut scripts, mut styles) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find(&mark) {
        let (before, after) = (&rest[..at], &rest[at + mark.len()..]);
        text.push_str(before);
        rest = after;
        let name = before.rfind('<').map_or("", |at| &before[at + 1..]);
        let hashes = match name.split([' ', '\t', '\n']).next() {
            Some("script") => Some((&mut scripts, "</script")),
            Some("style") => Some((&mut styles, "</style")),
            _ => None,
        };
        let (Some((hashes, end)), Some(open)) = (hashes, after.find('>')) else { continue };
        let Some(len) = after[open + 1..].find(end) else { continue };
        let inside = &after[open + 1..open + 1 + len];
        if !inside.is_empty() {
            let hash = format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, inside.as_bytes())));
            if !hashes.contains(&hash) {
                hashes.push(hash);
            }
        }
    }
    text.push_str(rest);
    // Leptos writes it there too, where any text that is no keyword means `anonymous`.
    let text = text.replace(&format!(" crossorigin=\"{nonce}\""), " crossorigin=\"anonymous\"");
    let directives = policy.split(';').map(|directive| {
        let hashes =
            if directive.trim_start().starts_with("style-src") { &styles } else { &scripts };
        let words = directive.split(' ').flat_map(|word| match is_nonce(word) {
            true => hashes.iter().map(String::as_str).collect::<Vec<_>>(),
            false => vec![word],
        });
        words.collect::<Vec<_>>().join(" ")
    });
    let policy = directives.collect::<Vec<_>>().join(";");
    Some((text, policy))
}

fn is_nonce(word: &str) -> bool {
    word.starts_with("'nonce-") && word.ends_with('\'')
}

/// The nonce that a policy names.
fn nonce(policy: &str) -> Option<&str> {
    let word = policy.split([' ', ';']).find(|word| is_nonce(word))?;
    let nonce = word.strip_prefix("'nonce-")?.strip_suffix('\'')?;
    (!nonce.is_empty()).then_some(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "default-src 'none'; script-src 'self' 'nonce-N1' 'wasm-unsafe-eval'; style-src 'self' 'nonce-N1'";

    #[test]
    fn scripts_of_the_render_are_allowed_by_what_they_say() {
        let page = "<head><link nonce=\"N1\" href=\"/a.js\" crossorigin=\"N1\"><script type=\"module\" nonce=\"N1\">go()</script>\
                    <script nonce=\"N1\" src=\"/b.js\"></script></head><p>go</p>\
                    <script nonce=\"N1\">go()</script><script nonce=\"N1\">two</script>";
        let (text, policy) = by_hash(page, POLICY).unwrap();
        assert!(
            !text.contains("nonce") && !text.contains("N1") && !policy.contains("nonce"),
            "{text} {policy}"
        );
        assert!(text.contains("<script type=\"module\">go()</script>"), "{text}");
        // printf 'go()' | openssl dgst -sha256 -binary | base64
        let hash = "'sha256-5KYv+PUboo5h+0+YAtGRPbwv5d/QxzHslP4YGnUaxRw='";
        assert_eq!(policy.matches("'sha256-").count(), 2, "each once, empty ones not: {policy}");
        assert!(policy.contains(hash), "{policy}");
        assert!(policy.ends_with("style-src 'self'"), "{policy}");
    }

    #[test]
    fn a_script_without_the_nonce_is_not_allowed() {
        let page = "<p><script>evil()</script><script nonce=\"N0\">evil()</script></p>";
        let (text, policy) = by_hash(page, POLICY).unwrap();
        assert_eq!(text, page);
        assert!(!policy.contains("sha256"), "{policy}");
    }

    #[test]
    fn a_policy_without_a_nonce_is_left_alone() {
        assert_eq!(by_hash("<p>", "default-src 'none'"), None);
        assert_eq!(by_hash("<p>", "script-src 'nonce-'"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_page_goes_through(page in "(<script|<style| nonce=\"N1\"|>|</script>|[ -~]){0,40}") {
            let (text, _) = by_hash(&page, POLICY).unwrap();
            proptest::prop_assert!(!text.contains(" nonce=\"N1\""));
        }
    }
}
