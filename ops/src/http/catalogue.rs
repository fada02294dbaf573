//! `/docs/problems`: the catalogue of problems, and one page for each code. As JSON, as HTML where a browser asks, or as text.

use super::{Answer, accept::first_of, answer::json, params::Params, problem::clip, request::At, surface::Routes};
use crate::catalogue::{self, Entry, PATH};
use axum::{
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use quipu_schemas::problem::Problem;
use std::fmt::Write;

const JSON: &str = "application/json";
const HTML: &str = "text/html";
const TEXT: &str = "text/plain";

/// Its routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(routes: Routes<S>) -> Routes<S> {
    routes.route(PATH, get(list)).route(&format!("{PATH}/{{code}}"), get(one))
}

/// `GET /docs/problems`.
async fn list(uri: Uri, headers: HeaderMap) -> Answer {
    Params::parse(&uri, &[])?;
    let all: Vec<&Entry> = catalogue::all().values().collect();
    match first_of(&headers, &[JSON, HTML, TEXT]) {
        HTML => Ok(page(HTML, html_list(&all))),
        TEXT => Ok(page(TEXT, all.iter().map(|entry| text(entry)).collect::<Vec<_>>().join("\n"))),
        _ => Ok(cached(json(&serde_json::json!({ "items": all }))?)),
    }
}

/// `GET /docs/problems/{code}`.
async fn one(At(code): At<String>, uri: Uri, headers: HeaderMap) -> Answer {
    Params::parse(&uri, &[])?;
    let entry = catalogue::all().get(code.as_str()).ok_or_else(|| {
        Problem::new(404, "unknown_problem", format!("no such code: `{}`", clip(&code)))
            .field("code")
            .fix(format!("see {PATH}; a code of a kind of your own is explained by its author"))
    })?;
    match first_of(&headers, &[JSON, HTML, TEXT]) {
        HTML => Ok(page(HTML, html_one(entry))),
        TEXT => Ok(page(TEXT, text(entry))),
        _ => Ok(cached(json(entry)?)),
    }
}

fn page(media_type: &'static str, body: String) -> Response {
    let content_type = match media_type {
        HTML => "text/html; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    cached(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// It changes with the release alone, and holds nothing of anybody.
fn cached(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn statuses(entry: &Entry) -> String {
    entry.statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn text(entry: &Entry) -> String {
    format!(
        "{} ({})\n  type:       {}\n  what it is: {}\n  what to do: {}\n",
        entry.code,
        statuses(entry),
        entry.kind,
        entry.meaning,
        entry.remedy
    )
}

/// Text within HTML. The catalogue is our own, and may hold any of these all the same.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn html(title: &str, body: &str) -> String {
    format!("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body>\n{body}</body></html>\n")
}

fn html_list(all: &[&Entry]) -> String {
    let mut rows = String::from("<h1>Problems</h1>\n<table><tr><th>code</th><th>status</th><th>what it means</th></tr>\n");
    for entry in all {
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"{PATH}/{0}\">{0}</a></td><td>{1}</td><td>{2}</td></tr>",
            escaped(entry.code),
            statuses(entry),
            escaped(entry.meaning)
        );
    }
    rows.push_str("</table>\n");
    html("Problems", &rows)
}

fn html_one(entry: &Entry) -> String {
    let body = format!(
        "<h1>{0}</h1>\n<p>Status {1}, type <code>{2}</code></p>\n<h2>What it means</h2><p>{3}</p>\n<h2>What to do</h2><p>{4}</p>\n<p><a href=\"{PATH}\">All problems</a></p>\n",
        escaped(entry.code),
        statuses(entry),
        escaped(&entry.kind),
        escaped(entry.meaning),
        escaped(entry.remedy)
    );
    html(&escaped(entry.code), &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_no_markup_of_the_table() {
        let entry = Entry {
            meaning: "<b>&\"",
            ..catalogue::all()["no_access"].clone()
        };
        for page in [html_one(&entry), html_list(&[&entry])] {
            assert!(page.contains("&lt;b&gt;&amp;&quot;") && !page.contains("<b>"), "{page}");
        }
        assert!(text(&entry).contains("(403)"));
    }
}
