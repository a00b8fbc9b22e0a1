//! The folders of one crate: no import points up their order, and no files import each other in a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::modules::{Module, Modules, Name, Target};
use super::source::{Kind, Path};

/// How the folders of a crate may use each other.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Lowest first; a folder may import from those before it. Folders side by side may not import from each other.
    pub folders: &'a [&'a [&'a str]],
    /// Which of two folders side by side may import from which, all the same.
    pub beside: &'a [(&'a str, &'a str)],
    /// A file beside `lib.rs` that every folder may import from, and that imports from none.
    pub below_all: &'a str,
}

/// What was found in a crate.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many imports there are from the first folder into the second.
    pub arrows: BTreeMap<(String, String), usize>,
    /// What must not be, each with file and line.
    pub problems: Vec<String>,
}

/// Files and what each of them uses, with the line of the first use.
type Uses = BTreeMap<Name, BTreeMap<Name, usize>>;

pub fn check(modules: &Modules, order: Order<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut uses = Uses::new();
    let placed = |folder: &String| order.rank(folder).is_some();
    let folders: BTreeSet<&String> = modules.iter().filter_map(|(name, _)| name.first()).collect();
    let unplaced = folders.into_iter().filter(|&folder| !placed(folder));
    findings.problems.extend(unplaced.map(|folder| format!("{folder} has no place in the order of folders")));
    for (name, module) in modules.iter() {
        for path in &module.source.paths {
            let to = match modules.target(name, path) {
                Target::Elsewhere => continue,
                Target::Module(to) => to,
                Target::Unknown => {
                    findings.problems.push(problem(module, path, "lib.rs re-exports no such name"));
                    continue;
                }
            };
            let upward = match (name.first(), to.first()) {
                (Some(from), Some(into)) if from != into && placed(from) && placed(into) => {
                    let upward = !order.allows(from, into);
                    if path.kind != Kind::Inline || is_rooted(path) {
                        *findings.arrows.entry((from.clone(), into.clone())).or_default() += 1;
                        if upward {
                            let what = format!("{from} must not import from {into}");
                            findings.problems.push(problem(module, path, &what));
                        }
                    }
                    upward
                }
                _ => false,
            };
            // A circle through folders has an upward import in it, which is a problem already.
            if !upward && to != name.as_slice() && !is_own_reexport(name, to, path) {
                uses.entry(name.clone()).or_default().entry(to.into()).or_insert(path.line);
            }
        }
    }
    findings.problems.extend(circles(&uses).iter().map(|circle| describe(modules, &uses, circle)));
    findings
}

fn problem(module: &Module, path: &Path, what: &str) -> String {
    format!("{}:{}: {what} ({})", module.file.display(), path.line, path.segments.join("::"))
}

impl Order<'_> {
    fn rank(&self, folder: &str) -> Option<usize> {
        if folder == self.below_all {
            return Some(0);
        }
        self.folders.iter().position(|row| row.contains(&folder)).map(|row| row + 1)
    }

    fn allows(&self, from: &str, into: &str) -> bool {
        self.rank(into) < self.rank(from) || self.beside.contains(&(from, into))
    }
}

fn is_rooted(path: &Path) -> bool {
    ["crate", "self", "super"].contains(&path.segments[0].as_str())
}

/// A folder's `mod.rs` that re-exports what is in its files does not depend on them.
fn is_own_reexport(name: &[String], to: &[String], path: &Path) -> bool {
    matches!(path.kind, Kind::Use { reexport: true, .. }) && to.starts_with(name)
}

/// For each file in a circle that is in none of those before, the shortest circle through it.
fn circles(uses: &Uses) -> Vec<Vec<Name>> {
    let mut circles: Vec<Vec<Name>> = Vec::new();
    let mut known = BTreeSet::new();
    for name in uses.keys() {
        if !known.contains(name)
            && let Some(circle) = circle_through(uses, name)
        {
            known.extend(circle.iter().cloned());
            circles.push(circle);
        }
    }
    circles
}

/// The shortest way along `uses` from a file to itself; the file is its first and last.
fn circle_through(uses: &Uses, start: &Name) -> Option<Vec<Name>> {
    let mut came_from: BTreeMap<&Name, &Name> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(name) = queue.pop_front() {
        for next in uses.get(name).into_iter().flat_map(BTreeMap::keys) {
            if came_from.contains_key(next) {
                continue;
            }
            came_from.insert(next, name);
            if next == start {
                let back = std::iter::successors(Some(start), |&at| Some(came_from[at]));
                let mut circle = vec![start.clone()];
                circle.extend(back.skip(1).take_while(|&at| at != start).cloned());
                circle.push(start.clone());
                circle.reverse();
                return Some(circle);
            }
            queue.push_back(next);
        }
    }
    None
}

fn describe(modules: &Modules, uses: &Uses, circle: &[Name]) -> String {
    let steps = circle.windows(2).map(|step| {
        let (from, into) = (modules.file(&step[0]).display(), modules.file(&step[1]).display());
        format!("{from}:{} uses {into}", uses[&step[0]][&step[1]])
    });
    format!("a circle: {}", steps.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ORDER: Order<'_> = Order {
        folders: &[&["array"], &["model"], &["ledger"], &["analysis", "dynamics"]],
        beside: &[("dynamics", "analysis")],
        below_all: "error",
    };

    const CRATE: [(&str, &str); 9] = [
        (
            "lib.rs",
            "mod array;\nmod error;\nmod model;\nmod ledger;\npub use array::Matrix;\npub use error::Error;\npub use ledger::Ledger;\npub use model::Cell;\n",
        ),
        ("error.rs", "pub struct Error;\n"),
        ("array/mod.rs", "mod matrix;\npub use matrix::Matrix;\n"),
        ("array/matrix.rs", "use crate::Error;\npub struct Matrix;\n"),
        ("model/mod.rs", "mod cell;\npub use cell::Cell;\n"),
        ("model/cell.rs", "use crate::{Error, Matrix};\npub struct Cell;\n"),
        ("ledger/mod.rs", "use super::model::Cell;\npub struct Ledger;\n"),
        ("analysis/mod.rs", "use crate::ledger::Ledger;\n"),
        ("dynamics/mod.rs", "use crate::model;\nfn f(cell: model::Cell, a: crate::analysis::A) {}\n"),
    ];

    /// What is found in [`CRATE`] with these files added or in the place of others.
    fn checked(changes: &[(&str, &str)]) -> Findings {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in CRATE.iter().chain(changes) {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        check(&Modules::read(folder.path(), "").unwrap(), ORDER)
    }

    fn problems(changes: &[(&str, &str)]) -> Vec<String> {
        checked(changes).problems
    }

    #[test]
    fn imports_down_the_order_are_counted() {
        let findings = checked(&[]);
        assert_eq!(findings.problems, [""; 0]);
        let arrows: Vec<_> = findings.arrows.iter().map(|((a, b), n)| (a.as_str(), b.as_str(), *n)).collect();
        let expected = [
            ("analysis", "ledger", 1),
            ("array", "error", 1),
            ("dynamics", "analysis", 1),
            ("dynamics", "model", 1),
            ("ledger", "model", 1),
            ("model", "array", 1),
            ("model", "error", 1),
        ];
        assert_eq!(arrows, expected);
    }

    #[test]
    fn an_upward_import_is_found_in_every_form() {
        let problem = |text: &str| problems(&[("array/matrix.rs", text)]);
        let refused = |line: usize, path: &str| {
            vec![format!("array/matrix.rs:{line}: array must not import from model ({path})")]
        };
        assert_eq!(problem("use crate::model::Cell;"), refused(1, "crate::model::Cell"));
        assert_eq!(problem("\nuse crate::{\n Error,\n Cell};"), refused(4, "crate::Cell"));
        assert_eq!(problem("use super::super::model::Cell as C;"), refused(1, "super::super::model::Cell"));
        assert_eq!(problem("fn f() {\n crate::Cell::new() }"), refused(2, "crate::Cell::new"));
        assert_eq!(problem("fn f(cell: &super::super::Cell) {}"), refused(1, "super::super::Cell"));
        assert_eq!(problem("macro_rules! m { () => { $crate::Cell } }"), refused(1, "crate::Cell"));
        assert_eq!(problem("mod inner { use super::super::super::Cell; }").len(), 1);
        assert_eq!(problem("use crate::model::*;"), refused(1, "crate::model::*"));
    }

    #[test]
    fn tests_may_import_from_anywhere() {
        let inline = ("array/matrix.rs", "#[cfg(test)]\nmod tests { use crate::{Cell, ledger::Ledger}; }");
        assert_eq!(problems(&[inline]), [""; 0]);
        let file = ("array/tests.rs", "use crate::{Cell, ledger::Ledger};");
        let declared = ("array/mod.rs", "#[cfg(test)]\nmod tests;\nmod matrix;\npub use matrix::Matrix;");
        assert_eq!(problems(&[file, declared]), [""; 0]);
    }

    #[test]
    fn folders_side_by_side_import_in_one_direction_only() {
        let found = problems(&[("analysis/mod.rs", "use crate::dynamics::D;\n")]);
        assert_eq!(found, ["analysis/mod.rs:1: analysis must not import from dynamics (crate::dynamics::D)"]);
    }

    #[test]
    fn a_reexport_upward_a_folder_without_a_place_and_an_unknown_name_are_found() {
        let found = problems(&[("array/mod.rs", "pub(crate) use crate::ledger::Ledger;\n")]);
        assert_eq!(found, ["array/mod.rs:1: array must not import from ledger (crate::ledger::Ledger)"]);
        let found = problems(&[("extra.rs", "")]);
        assert_eq!(found, ["extra has no place in the order of folders"]);
        let found = problems(&[("model/cell.rs", "pub struct Cell;\nuse crate::Nowhere;")]);
        assert_eq!(found, ["model/cell.rs:2: lib.rs re-exports no such name (crate::Nowhere)"]);
        let found = problems(&[("error.rs", "use crate::array::Matrix;\npub struct Error;")]);
        assert_eq!(found, ["error.rs:1: error must not import from array (crate::array::Matrix)"]);
    }

    #[test]
    fn circles_among_files_are_found_through_reexports() {
        let found = problems(&[
            ("model/mod.rs", "mod cell;\nmod state;\npub use cell::Cell;\npub use state::State;"),
            ("model/cell.rs", "use super::State;\npub struct Cell;"),
            ("model/state.rs", "\nuse crate::model;\npub struct State(model::Cell);"),
        ]);
        let circle = "a circle: model/cell.rs:1 uses model/state.rs, model/state.rs:3 uses model/cell.rs";
        assert_eq!(found, [circle]);
    }
}
