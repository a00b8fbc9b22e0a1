//! Makes plotly.js ready for the pages. The crate plotly is needed for this one file only, so it is a dependency of this
//! script: there it is compiled without optimization and is no part of the program.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "report")]
    script::write();
}

#[cfg(feature = "report")]
mod script {
    use std::io::Write;
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    /// Writes the script, zlib's format, to where `report/page.rs` includes it from.
    pub fn write() {
        // The first of the two scripts; the second sets formulas, which no chart here has.
        let scripts = plotly::Plot::offline_js_sources();
        let (_, script) = scripts.split_once('>').expect("it begins with a script element");
        let (script, _) = script.split_once("</script>").expect("the script ends");
        let script = shortened(script).unwrap_or_else(|| script.to_owned());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        let packed = encoder.write_all(script.as_bytes()).and_then(|()| encoder.finish());
        let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
        let path = Path::new(&folder).join("plotly.js.zlib");
        std::fs::write(path, packed.expect("memory can be written")).expect("the folder can be written to");
    }

    /// The script such that it loads in a third of the time; nothing if it is not written as expected. Of some fifty kinds of
    /// charts only those that pages have are made ready, bars and heatmaps beside lines. The function around everything that
    /// is for other places than pages is left out, and the one inside of it written such that browsers take it for one that
    /// is called at once: they read a function's text a first time where it stands and again when it is called.
    fn shortened(script: &str) -> Option<String> {
        let (license, _) = script.split_once("*/")?;
        let (_, script) = script.split_once("\"use strict\";var Plotly=(()=>{")?;
        let (script, _) = script.rsplit_once("window.Plotly = Plotly;")?;
        let (before, rest) = script.rsplit_once(".register([")?;
        let (kinds, after) = rest.split_once("])")?;
        // In the order of plotly.js's lib/index.js.
        let [bar, _box, heatmap, ..] = kinds.split(',').collect::<Vec<_>>()[..] else { return None };
        let start = "*/\n\"use strict\";var Plotly=(function(){";
        Some([license, start, before, ".register([", bar, ",", heatmap, "])", after].concat())
    }
}
