//! The modules of a crate: their files, and where a path leads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path as FilePath, PathBuf};

use super::source::{Kind, Path, Source};

/// A module's path from the crate's root; empty for the root.
pub type Name = Vec<String>;

/// A file of the crate.
#[derive(Debug)]
pub struct Module {
    /// Its path, as problems name it.
    pub file: PathBuf,
    pub source: Source,
    /// What its `use` lines bind, in all its inline modules: name and path.
    bindings: BTreeMap<String, Name>,
}

/// The files of a crate that are compiled outside of tests, by module.
#[derive(Debug)]
pub struct Modules {
    by_name: BTreeMap<Name, Module>,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Into this module of the crate.
    Module(&'a [String]),
    /// Out of the crate, or nowhere new.
    Elsewhere,
    /// To a name of the crate's root that no `use` there binds.
    Unknown,
}

impl Modules {
    /// The modules of the crate whose sources are in the folder `src` of `root`.
    ///
    /// # Errors
    /// If a file cannot be read or is not Rust.
    pub fn read(root: &FilePath, src: &str) -> Result<Self, String> {
        let src = root.join(src);
        let mut by_name = BTreeMap::new();
        read_folder(root, &src, &src, &mut by_name)?;
        let tests: BTreeSet<Name> = by_name
            .iter()
            .flat_map(|(name, module): (&Name, &Module)| {
                module.source.test_modules.iter().map(|test| joined(name, std::slice::from_ref(test)))
            })
            .collect();
        by_name.retain(|name, _| !(1..=name.len()).any(|depth| tests.contains(&name[..depth])));
        let names: BTreeSet<Name> = by_name.keys().cloned().collect();
        for (name, module) in &mut by_name {
            for path in &module.source.paths {
                if let Kind::Use { name: bound, .. } = &path.kind
                    && let Some(full) = absolute(&names, name, path)
                {
                    module.bindings.insert(bound.clone(), full);
                }
            }
        }
        Ok(Self { by_name })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Module)> {
        self.by_name.iter()
    }

    pub fn file(&self, name: &[String]) -> &FilePath {
        &self.by_name[name].file
    }

    /// Where a path of module `from` leads, through all re-exports.
    pub fn target(&self, from: &[String], path: &Path) -> Target<'_> {
        let module = &self.by_name[from];
        let first = &path.segments[0];
        let full = if ["crate", "self", "super"].contains(&first.as_str()) {
            rooted(from, path)
        } else if matches!(path.kind, Kind::Inline) && module.bindings.contains_key(first) {
            joined(&module.bindings[first], &path.segments[1..])
        } else if self.by_name.contains_key(&joined(from, std::slice::from_ref(first))) {
            joined(from, &path.segments)
        } else {
            return Target::Elsewhere;
        };
        self.resolve(&full, 16)
    }

    /// The module that holds the item at `path`. `hops` bounds re-exports of re-exports.
    fn resolve(&self, path: &[String], hops: usize) -> Target<'_> {
        let mut depth = 0;
        while depth < path.len() && self.by_name.contains_key(&path[..=depth]) {
            depth += 1;
        }
        let (name, module) = self.by_name.get_key_value(&path[..depth]).expect("the root is a module");
        let Some(item) = path.get(depth) else { return Target::Module(name) };
        match module.bindings.get(item) {
            Some(full) if hops > 0 && *full != path[..=depth] => {
                self.resolve(&joined(full, &path[depth + 1..]), hops - 1)
            }
            None if depth == 0 => Target::Unknown,
            _ => Target::Module(name),
        }
    }
}

fn read_folder(
    root: &FilePath,
    src: &FilePath,
    folder: &FilePath,
    by_name: &mut BTreeMap<Name, Module>,
) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(problem)? {
        let path = entry.map_err(problem)?.path();
        if path.is_dir() {
            read_folder(root, src, &path, by_name)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let source = Source::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            let below = |folder| path.strip_prefix(folder).expect("it lies in both folders");
            let module = Module { source, bindings: BTreeMap::new(), file: below(root).into() };
            by_name.insert(module_name(below(src)), module);
        }
    }
    Ok(())
}

/// `model/cell/rnn.rs` is `model::cell::rnn`, `model/mod.rs` is `model`, `lib.rs` is the root.
fn module_name(file: &FilePath) -> Name {
    let mut name: Name =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if name.last().is_some_and(|last| last == "mod") || name == ["lib"] {
        name.pop();
    }
    name
}

/// A path that begins with `crate`, `self` or `super`, from the root.
fn rooted(from: &[String], path: &Path) -> Name {
    let mut name = joined(from, &path.within);
    let mut rest = path.segments.iter().peekable();
    while let Some(step) = rest.next_if(|step| ["crate", "self", "super"].contains(&step.as_str())) {
        match step.as_str() {
            "crate" => name.clear(),
            "super" => drop(name.pop()),
            _ => {}
        }
    }
    name.extend(rest.cloned());
    name
}

/// What a `use` of module `from` binds, from the root; `None` if it is of another crate.
fn absolute(names: &BTreeSet<Name>, from: &[String], path: &Path) -> Option<Name> {
    if ["crate", "self", "super"].contains(&path.segments[0].as_str()) {
        return Some(rooted(from, path));
    }
    let child = joined(from, &path.segments[..1]);
    names.contains(&child).then(|| joined(from, &path.segments))
}

fn joined(name: &[String], rest: &[String]) -> Name {
    [name, rest].concat()
}
