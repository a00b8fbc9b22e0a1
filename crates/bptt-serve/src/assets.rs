//! The files of the pages, which are compiled into the program.

use std::collections::HashMap;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bptt_view::report;

/// The common frame of the pages.
const FRAME: &str = include_str!("page/frame.html");

/// The pages: name of the script, name, title and content.
const PAGES: [(&str, &str, &str, &str); 4] = [
    ("runs", "Runs", "Runs", include_str!("page/runs.html")),
    ("live", "Live", "Training", include_str!("page/live.html")),
    ("lab", "Lab", "Laboratory: change a network and see its gradient", include_str!("page/lab.html")),
    ("explore", "Explore", "Contribution of each word", include_str!("page/explore.html")),
];

/// The address of a page; that of the first one is the server's.
fn address(script: &str) -> String {
    let first = PAGES[0].0;
    format!("/{}", if script == first { "" } else { script })
}

/// The pages by address.
pub(crate) fn pages() -> impl Iterator<Item = (String, String)> {
    let cells = cell_choices();
    PAGES.into_iter().map(move |(script, _, title, own)| {
        let main = report::filled(own, |part| match part {
            "controls" => report::CONTROLS,
            "network" => report::NETWORK,
            "cells" => &cells,
            _ => unreachable!("{script} has no part {part}"),
        });
        let link = |(to, name, ..): (&str, &str, &str, &str)| {
            let current = if to == script { " aria-current=\"page\"" } else { "" };
            format!("<a href=\"{}\"{current}>{name}</a>", address(to))
        };
        let links = PAGES.map(link).join(" ");
        let page = report::filled(FRAME, |part| match part {
            "script" => script,
            "title" => title,
            "links" => &links,
            "main" => &main,
            _ => unreachable!("pages have no part {part}"),
        });
        (address(script), page)
    })
}

/// Every cell as an option of a form: whether it is vanilla, and whether it has recurrent weights.
fn cell_choices() -> String {
    let option = |name: &str| {
        let cell = bptt::cell_by_name(name).expect("the registry makes its own examples");
        let spec = cell.spec();
        let vanilla = if spec.vanilla.is_some() { " data-vanilla" } else { "" };
        let recurrent = if spec.recurrent_weights().is_some() { " data-recurrent" } else { "" };
        format!("<option value=\"{name}\"{vanilla}{recurrent}>{}</option>", spec.title)
    };
    bptt::cells().into_iter().map(option).collect()
}

/// Modules and style sheet of these pages; they also use those of the report.
const OWN: [(&str, &str); 10] = [
    ("server.js", include_str!("page/server.js")),
    ("start.js", include_str!("page/start.js")),
    ("run.js", include_str!("page/run.js")),
    ("runs.js", include_str!("page/runs.js")),
    ("live.js", include_str!("page/live.js")),
    ("curves.js", include_str!("page/curves.js")),
    ("lab.js", include_str!("page/lab.js")),
    ("formula.js", include_str!("page/formula.js")),
    ("explore.js", include_str!("page/explore.js")),
    ("serve.css", include_str!("page/serve.css")),
];

/// A file with its content type and its entity tag.
#[derive(Debug)]
struct Asset {
    body: axum::body::Bytes,
    kind: &'static str,
    tag: String,
}

/// All files by name.
#[derive(Debug)]
pub(crate) struct Assets(HashMap<&'static str, Asset>);

impl Assets {
    pub fn new() -> Self {
        let plotly = ("plotly.js", report::plotly_js());
        let ours = report::MODULES.iter().chain(&OWN).map(|&(name, source)| (name, source.to_owned()));
        let all = ours.chain([("page.css", report::STYLE.to_owned()), plotly]);
        Self(all.map(|(name, source)| (name, Asset::new(name, source))).collect())
    }

    /// The file `name`, or only its tag if the client already has it.
    pub fn get(&self, name: &str, headers: &HeaderMap) -> Option<Response> {
        let asset = self.0.get(name)?;
        let tag = asset.tag.clone();
        if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return Some((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
        }
        // Clients revalidate every time.
        let headers =
            [(CONTENT_TYPE, asset.kind.to_owned()), (CACHE_CONTROL, "no-cache".into()), (ETAG, tag)];
        Some((headers, asset.body.clone()).into_response())
    }
}

impl Asset {
    fn new(name: &str, source: String) -> Self {
        let css = name.rsplit_once('.').is_some_and(|(_, ending)| ending == "css");
        let kind = if css { "text/css; charset=utf-8" } else { "text/javascript; charset=utf-8" };
        let tag = format!("\"{}\"", &blake3::hash(source.as_bytes()).to_hex()[..16]);
        Self { body: source.into(), kind, tag }
    }
}
