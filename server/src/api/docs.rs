//! `GET /api/docs`: the description of the API as a page to read, without a script.
//!
//! Must not: say anything that the description does not.

use std::fmt::Write as _;

use app::ssr::Viewer;
use axum::{
    http::header,
    response::{Html, IntoResponse},
};
use serde_json::Value;

use super::openapi;

/// Nothing but this server's own style sheet.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
const STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
code, .path { font-family: ui-monospace, monospace; }
article { border-top: 1px solid #8886; padding: .5rem 0 1rem; }
h3 { margin: .5rem 0; overflow-wrap: anywhere; }
.method { display: inline-block; min-width: 4.5rem; text-transform: uppercase; font-weight: 700; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-top: 1px solid #8883; }
nav a { display: inline-block; padding: .6rem .8rem .6rem 0; }
";

/// This description, to be read
#[utoipa::path(get, path = "/api/docs", tag = "this",
    responses((status = 200, description = "A page", content_type = "text/html")))]
pub(crate) async fn show(_viewer: Viewer) -> impl IntoResponse {
    let api = serde_json::to_value(openapi::api()).unwrap_or_default();
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(page(&api)))
}

/// Style sheet of the page
#[utoipa::path(get, path = "/api/docs/style.css", tag = "this",
    responses((status = 200, description = "A style sheet", content_type = "text/css")))]
pub(crate) async fn style(_viewer: Viewer) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

fn page(api: &Value) -> String {
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Damwall API</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <link rel=\"stylesheet\" href=\"/api/docs/style.css\"></head><body><main><h1>Damwall API</h1>",
    );
    put(&mut html, "<p>", text(&api["info"]["description"]), "</p>");
    html.push_str("<p>For programs: <a href=\"/api/openapi.json\"><code>/api/openapi.json</code></a>.</p><nav>");
    let tags: Vec<&Value> = list(&api["tags"]).collect();
    for tag in &tags {
        let name = text(&tag["name"]);
        put(&mut html, "<a href=\"#", name, "\">");
        put(&mut html, "", name, "</a>");
    }
    html.push_str("<a href=\"#shapes\">shapes</a></nav>");
    for tag in &tags {
        let name = text(&tag["name"]);
        put(&mut html, "<section><h2 id=\"", name, "\">");
        put(&mut html, "", name, "</h2>");
        put(&mut html, "<p>", text(&tag["description"]), "</p>");
        for (path, item) in entries(&api["paths"]) {
            for (method, operation) in entries(item) {
                if list(&operation["tags"]).any(|tag| tag == name) {
                    put_operation(&mut html, path, method, operation);
                }
            }
        }
        html.push_str("</section>");
    }
    html.push_str("<section><h2 id=\"shapes\">shapes</h2>");
    for (name, schema) in entries(&api["components"]["schemas"]) {
        put(&mut html, "<article><h3 id=\"shape-", name, "\">");
        put(&mut html, "<code>", name, "</code></h3>");
        put(&mut html, "<p>", text(&schema["description"]), "</p><table>");
        for (field, kind) in entries(&schema["properties"]) {
            put_row(&mut html, field, &type_of(kind), text(&kind["description"]));
        }
        html.push_str("</table></article>");
    }
    html.push_str("</section></main></body></html>");
    html
}

fn put_operation(html: &mut String, path: &str, method: &str, operation: &Value) {
    put(html, "<article><h3><span class=\"method\">", method, "</span> ");
    put(html, "<span class=\"path\">", path, "</span></h3>");
    put(html, "<p><strong>", text(&operation["summary"]), "</strong></p>");
    put(html, "<p>", text(&operation["description"]), "</p><table>");
    for parameter in list(&operation["parameters"]) {
        let kind = format!("{}, {}", text(&parameter["in"]), type_of(&parameter["schema"]));
        put_row(html, text(&parameter["name"]), &kind, text(&parameter["description"]));
    }
    for (_, content) in entries(&operation["requestBody"]["content"]) {
        put_row(html, "body", &type_of(&content["schema"]), "");
    }
    for (status, response) in entries(&operation["responses"]) {
        let kinds: Vec<String> = entries(&response["content"])
            .map(|(mime, content)| match type_of(&content["schema"]) {
                kind if kind.is_empty() => mime.to_owned(),
                kind => kind,
            })
            .collect();
        put_row(html, status, &kinds.join(", "), text(&response["description"]));
    }
    html.push_str("</table></article>");
}

fn put_row(html: &mut String, name: &str, kind: &str, description: &str) {
    put(html, "<tr><th scope=\"row\"><code>", name, "</code></th>");
    put(html, "<td><code>", kind, "</code></td>");
    put(html, "<td>", description, "</td></tr>");
}

/// A type in a few words: `[Asset]`, `string | null`.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return name.to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(text).collect::<Vec<_>>().join(" | ");
    }
    let any: Vec<String> = ["oneOf", "anyOf", "allOf"]
        .iter()
        .flat_map(|key| list(&schema[*key]))
        .map(type_of)
        .collect();
    let kinds: Vec<String> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(|kind| text(kind).to_owned()).collect(),
        kind => vec![text(kind).to_owned()],
    };
    let kinds = kinds.into_iter().map(|kind| match kind.as_str() {
        "array" => format!("[{}]", type_of(&schema["items"])),
        _ => kind,
    });
    kinds.chain(any).filter(|kind| !kind.is_empty()).collect::<Vec<_>>().join(" | ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// `text` as text between two pieces of markup.
fn put(html: &mut String, before: &str, text: &str, after: &str) {
    html.push_str(before);
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => {
                write!(html, "&#{};", u32::from(c)).expect("writing to a String does not fail");
            }
            c => html.push(c),
        }
    }
    html.push_str(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_operation_and_no_markup_of_others() {
        let api = serde_json::to_value(openapi::api()).unwrap();
        let html = page(&api);
        for (path, item) in entries(&api["paths"]) {
            assert!(html.contains(path), "{path}");
            for (method, operation) in entries(item) {
                assert!(!text(&operation["summary"]).is_empty(), "{method} {path} has no summary");
                let tags: Vec<_> = list(&operation["tags"]).collect();
                assert_eq!(tags.len(), 1, "{method} {path} is in one section");
            }
        }
        assert!(!html.contains("<script") && !html.contains("style="));
        let odd = serde_json::json!({"info": {"description": "<img src=x>"}});
        assert!(page(&odd).contains("&#60;img src=x&#62;"));
    }
}
