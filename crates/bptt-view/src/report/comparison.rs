//! A comparison of remedies as one HTML file: the figure, the table, and the command that repeats it.

use std::fmt::Write;

use crate::table::Align;

/// What the page says.
#[derive(Clone, Debug)]
pub struct ComparisonPage<'a> {
    /// Its title.
    pub title: &'a str,
    /// Sentences above the figure: what was trained, and what is missing.
    pub facts: &'a [String],
    /// The figure's SVG.
    pub svg: &'a str,
    /// The names of the table's columns.
    pub columns: &'a [(&'a str, Align)],
    /// Its rows.
    pub rows: &'a [Vec<String>],
    /// What the columns mean.
    pub meaning: &'a str,
    /// The command that repeats it.
    pub reproduce: &'a str,
    /// The program and its version.
    pub program: &'a str,
}

const STYLE: &str = "\
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
figure { margin: 1rem 0; padding: .5rem; background: white; overflow-x: auto; border-radius: .4rem }
div { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #8888; text-align: left; white-space: nowrap }
.right { text-align: right }
code { overflow-wrap: anywhere }
@media print { body { margin: 0; max-width: none } figure, div { overflow: visible } }";

/// The page, which needs nothing else.
pub fn comparison(of: &ComparisonPage<'_>) -> String {
    let title = escaped(of.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    for fact in of.facts {
        let _ = writeln!(page, "<p>{}</p>", escaped(fact));
    }
    let _ =
        writeln!(page, "<figure tabindex=\"0\" role=\"group\" aria-label=\"{title}\">\n{}</figure>", of.svg);
    let class = |align: Align| if align == Align::Right { " class=\"right\"" } else { "" };
    let _ = write!(page, "<div tabindex=\"0\" role=\"group\" aria-label=\"Table\">\n<table>\n<thead><tr>");
    for (name, align) in of.columns {
        let _ = write!(page, "<th scope=\"col\"{}>{}</th>", class(*align), escaped(name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in of.rows {
        page.push_str("<tr>");
        for ((_, align), cell) in of.columns.iter().zip(row) {
            let _ = write!(page, "<td{}>{}</td>", class(*align), escaped(cell));
        }
        page.push_str("</tr>\n");
    }
    let _ = write!(
        page,
        "</tbody>\n</table>\n</div>\n<p>{}</p>\n<p>Again: <code>{}</code></p>\n<p>{}</p>\n</main>\n</body>\n</html>\n",
        escaped(of.meaning),
        escaped(of.reproduce),
        escaped(of.program)
    );
    page
}

/// Text for an HTML element or an attribute in double quotes.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
