//! The files of the page, and how they are joined.

use serde_json::Value;

use super::comparison::escaped;

use super::numbers::base64;

const PAGE: &str = include_str!("page/page.html");

/// The controls of the page, as parts of a form.
pub const CONTROLS: &str = include_str!("page/controls.html");

/// The section with the unrolled network.
pub const NETWORK: &str = include_str!("page/network.html");

/// The style sheet of the page.
pub const STYLE: &str = include_str!("page/page.css");

/// The ES modules of the page by name, in the order of their imports; the last one makes the page.
pub const MODULES: [(&str, &str); 22] = [
    ("format.js", include_str!("page/format.js")),
    ("dom.js", include_str!("page/dom.js")),
    ("ledger.js", include_str!("page/ledger.js")),
    ("state.js", include_str!("page/state.js")),
    ("theme.js", include_str!("page/theme.js")),
    ("scale.js", include_str!("page/scale.js")),
    ("plot.js", include_str!("page/plot.js")),
    ("glossary.js", include_str!("page/glossary.js")),
    ("chart.js", include_str!("page/chart.js")),
    ("heatmap.js", include_str!("page/heatmap.js")),
    ("flow.js", include_str!("page/flow.js")),
    ("network.js", include_str!("page/network.js")),
    ("words.js", include_str!("page/words.js")),
    ("training.js", include_str!("page/training.js")),
    ("tables.js", include_str!("page/tables.js")),
    ("lead.js", include_str!("page/lead.js")),
    ("pictures.js", include_str!("page/pictures.js")),
    ("compare.js", include_str!("page/compare.js")),
    ("article.js", include_str!("page/article.js")),
    ("controls.js", include_str!("page/controls.js")),
    ("view.js", include_str!("page/view.js")),
    ("report.js", include_str!("page/report.js")),
];

/// plotly.js as the build script made it ready: bars and heatmaps beside lines, zlib's format.
const PLOTLY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plotly.js.zlib"));

/// plotly.js, which the crate plotly brings, as a script for pages.
pub fn plotly_js() -> String {
    let mut script = String::new();
    let mut decoder = flate2::read::ZlibDecoder::new(PLOTLY);
    std::io::Read::read_to_string(&mut decoder, &mut script).expect("the build script compressed a text");
    script
}

/// The whole file.
pub(super) fn html(title: &str, data: &Value, numbers: &str) -> String {
    let scripts: String = MODULES.iter().map(|(_, source)| inlined(source)).collect();
    let (title, data, plotly) = (escaped(title), in_script(data), base64(PLOTLY));
    filled(PAGE, |name| match name {
        "style" => STYLE,
        "controls" => CONTROLS,
        "network" => NETWORK,
        "scripts" => &scripts,
        "plotly" => &plotly,
        "numbers" => numbers,
        "title" => &title,
        "data" => &data,
        _ => unreachable!("the page has no part {name}"),
    })
}

/// A template with its parts, `{{name}}`, filled in.
pub fn filled<'a>(template: &str, part: impl Fn(&str) -> &'a str) -> String {
    let mut pieces = template.split("{{");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for (name, rest) in pieces.filter_map(|piece| piece.split_once("}}")) {
        text.push_str(part(name));
        text.push_str(rest);
    }
    text
}

/// A module as a part of one script: without imports, which precede it, and with exports as plain names.
fn inlined(source: &str) -> String {
    let mut imports = false;
    let mut text = String::with_capacity(source.len());
    for line in source.lines() {
        imports |= line.starts_with("import ");
        if !imports {
            text.push_str(line.strip_prefix("export ").unwrap_or(line));
            text.push('\n');
        }
        imports &= !line.ends_with(';');
    }
    text
}

/// JSON in which no HTML parser finds the end of a script.
fn in_script(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_inlined_module_has_no_imports_and_exports() {
        let module = "import { a } from \"./a.js\";\nimport {\n  b,\n} from \"./b.js\";\nexport function c() {}\nconst d = 1;\n";
        assert_eq!(inlined(module), "function c() {}\nconst d = 1;\n");
        for (name, source) in MODULES {
            let rest = inlined(source);
            assert!(!rest.lines().any(|l| l.starts_with("import ") || l.starts_with("export ")), "{name}");
            // A name has to be the same in all modules.
            assert!(!source.lines().any(|l| l.starts_with("import ") && l.contains(" as ")), "{name}");
        }
    }

    #[test]
    fn a_module_imports_only_what_stands_above_it() {
        for (i, (name, source)) in MODULES.iter().enumerate() {
            for of in source.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(MODULES[..i].iter().any(|(above, _)| *above == of), "{name} imports {of}");
            }
        }
    }

    #[test]
    fn plotly_is_shortened_and_keeps_its_license() {
        let script = plotly_js();
        let (license, rest) = script.split_once("*/").unwrap();
        assert!(
            license.trim_start().starts_with("/**\n* plotly.js v") && license.contains("MIT"),
            "{license}"
        );
        assert!(rest.starts_with("\n\"use strict\";var Plotly=(function(){"), "{}", &rest[..100]);
        // What makes a kind of chart is a module that hands on one with the kind's name.
        let after = |text: &str| script.split_once(text).unwrap().1;
        let (kinds, _) = script.rsplit_once(".register([").unwrap().1.split_once("])").unwrap();
        let names = kinds.split(',').map(|call| {
            let module =
                after(&format!("var {}=", call.trim_end_matches("()"))).split_once("exports=").unwrap().1;
            let handed_on = after(&format!("var {}=", module.split_once("()").unwrap().0));
            handed_on.split_once("moduleType:\"trace\",name:\"").unwrap().1.split('"').next().unwrap()
        });
        assert_eq!(names.collect::<Vec<_>>(), ["bar", "heatmap"]);
    }

    #[test]
    fn no_text_ends_the_script_it_stands_in() {
        let data = json!({ "symbols": ["</script><script>alert(1)</script>", "<!--", "{{numbers}}"] });
        let page = html("a < b", &data, "");
        assert!(page.contains(r#""\u003c/script>\u003cscript>alert(1)\u003c/script>""#), "escaped");
        assert!(page.contains("<title>a &lt; b</title>") && page.contains("\"{{numbers}}\""));
        assert!(!page.contains("alert(1)</script>"));
    }

    #[test]
    fn plotly_is_one_script() {
        let script = plotly_js();
        assert!(script.contains("plotly.js v") && !script.contains("</script"));
    }
}
