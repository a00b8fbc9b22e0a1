//! The commands of the book run: chapter by chapter in one folder, with short trainings.

use std::fs;
use std::io::Write;
use std::path::Path;

use npyz::WriterBuilder;

use crate::common::bptt;
use crate::shell_lines::{shell_lines, words};

/// Chapters whose commands read only what a chapter above writes, [`TEXT`], or the files of [`article_files`].
const CHAPTERS: [&str; 9] =
    ["training", "diagnose", "reading", "precision", "speed", "article", "vanishing", "window", "literature"];

/// The text that the book calls `FILE`.
const TEXT: &str = "It was the quick brown fox that jumps over the lazy dog to read a text\n";

/// Updates of each training, of 16 units each.
const UPDATES: &str = "5";

/// The bytes of an `.npy` file.
fn npy<T: npyz::AutoSerialize>(shape: &[u64], numbers: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut array = options.writer(&mut bytes).begin_nd().unwrap();
    array.extend(numbers).unwrap();
    array.finish().unwrap();
    bytes
}

/// The same of some numbers.
fn npy_of(shape: &[u64]) -> Vec<u8> {
    let count = usize::try_from(shape.iter().product::<u64>()).unwrap();
    npy(shape, [0.3, -0.2, 0.5, -0.4, 0.1].into_iter().cycle().take(count))
}

/// The files that the script in the chapter on the article writes, with other numbers in them.
fn article_files(folder: &Path) {
    let mut archive = zip::ZipWriter::new(fs::File::create(folder.join("article.npz")).unwrap());
    let weights: [(&str, &[u64]); 6] = [
        ("weight_ih_l0", &[4, 3]),
        ("weight_hh_l0", &[4, 4]),
        ("bias_ih_l0", &[4]),
        ("bias_hh_l0", &[4]),
        ("head.weight", &[2, 4]),
        ("head.bias", &[2]),
    ];
    for (name, shape) in weights {
        archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(&npy_of(shape)).unwrap();
    }
    archive.finish().unwrap();
    for (name, shape) in [("x", [1, 3, 3]), ("h0", [1, 1, 4]), ("dh", [1, 3, 4])] {
        fs::write(folder.join(format!("{name}.npy")), npy_of(&shape)).unwrap();
    }
    fs::write(folder.join("y.npy"), npy(&[1, 3], [0_i64, 1, 0])).unwrap();
}

/// The arguments of a command as the test runs it; `None` if it needs a browser, an interrupted training or files that no chapter
/// writes.
fn arguments(line: &str) -> Option<Vec<String>> {
    let mut words = words(line);
    let serves =
        words.get(1).is_some_and(|name| name == "serve") || words.iter().any(|word| word == "--serve");
    let given = line.contains("model.safetensors") || line.contains("--resume");
    if words.first().is_none_or(|name| name != "bptt") || serves || given {
        return None;
    }
    words.remove(0);
    words.retain(|word| word != "--open");
    for word in words.iter_mut().filter(|word| *word == "FILE") {
        *word = "text.txt".into();
    }
    let mut set = |option: &str, value: &str| match words.iter().position(|word| word == option) {
        Some(at) if words[at + 1] != "0" => words[at + 1] = value.into(),
        Some(_) => {}
        None => words.extend([option, value].map(str::to_owned)),
    };
    if line.starts_with("bptt train") {
        set("--steps", UPDATES);
        set("--hidden", "16");
    } else if line.starts_with("bptt compare --task") {
        set("--steps", UPDATES);
        set("--seeds", "1");
    }
    Some(words)
}

#[test]
fn commands_of_the_book_run() {
    let chapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../book/src");
    if !chapters.is_dir() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text.txt"), TEXT.repeat(600)).unwrap();
    article_files(folder.path());
    let mut run = 0;
    for chapter in CHAPTERS {
        let text = fs::read_to_string(chapters.join(format!("{chapter}.md"))).unwrap();
        for line in shell_lines(&text) {
            let Some(arguments) = arguments(&line) else { continue };
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = bptt(folder.path(), &arguments);
            // A limit that is not met is an exit code of 1.
            let fine =
                output.status.success() || (arguments[0] == "check" && output.status.code() == Some(1));
            assert!(fine, "{chapter}: {line}\n{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
            run += 1;
        }
    }
    assert!(run > 50, "only {run} commands were found");
}
