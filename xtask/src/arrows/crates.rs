//! The packages of the workspace: which may depend on which.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The packages a package depends on, among those of the workspace.
pub type Dependencies = BTreeMap<String, Vec<String>>;

/// The dependencies between the members of the workspace in `root`, for tests and build scripts, too.
///
/// # Errors
/// If a manifest cannot be read.
pub fn read(root: &Path) -> Result<Dependencies, String> {
    let workspace = manifest(&root.join("Cargo.toml"))?;
    let members = workspace.get("workspace").and_then(|workspace| workspace.get("members"));
    let members = members.and_then(toml::Value::as_array).ok_or("Cargo.toml has no workspace.members")?;
    let mut dependencies = Dependencies::new();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let path = root.join(member).join("Cargo.toml");
        let manifest = manifest(&path)?;
        let package = manifest.get("package").and_then(|package| package.get("name"));
        let package = package.and_then(toml::Value::as_str);
        let package = package.ok_or_else(|| format!("{} has no package.name", path.display()))?;
        let mut used = Vec::new();
        collect(&manifest, &mut used);
        dependencies.insert(package.into(), used);
    }
    let members: Vec<String> = dependencies.keys().cloned().collect();
    for used in dependencies.values_mut() {
        used.retain(|name| members.contains(name));
        used.sort();
        used.dedup();
    }
    Ok(dependencies)
}

fn manifest(path: &Path) -> Result<toml::Table, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.parse().map_err(|error| format!("{}: {error}", path.display()))
}

/// The packages in every table of dependencies, those of single targets included.
fn collect(table: &toml::Table, used: &mut Vec<String>) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            used.extend(inner.iter().map(|(name, dependency)| {
                let package = dependency.get("package").and_then(toml::Value::as_str);
                package.unwrap_or(name).to_owned()
            }));
        } else if key == "target" || table.len() == 1 || key.starts_with("cfg(") {
            collect(inner, used);
        }
    }
}

/// Every dependency that `allowed` (a package and what it may use) does not name, and every package that it lacks.
/// `tools` may use anything, and nothing may use them.
pub fn problems(found: &Dependencies, allowed: &[(&str, &[&str])], tools: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for (package, used) in found {
        if tools.contains(&package.as_str()) {
            continue;
        }
        let Some((_, may_use)) = allowed.iter().find(|(name, _)| name == package) else {
            problems.push(format!("the package {package} has no place in the order of packages"));
            continue;
        };
        for name in used.iter().filter(|name| !may_use.contains(&name.as_str())) {
            problems.push(format!("{package} must not depend on {name}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: [(&str, &[&str]); 2] = [("core", &[]), ("io", &["core"])];

    fn found(core: &str, io: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Cargo.toml", "[workspace]\nmembers = [\"core\", \"io\", \"tool\"]\n");
        write("core/Cargo.toml", &format!("[package]\nname = \"core\"\n{core}"));
        write("io/Cargo.toml", &format!("[package]\nname = \"io\"\n{io}"));
        write("tool/Cargo.toml", "[package]\nname = \"tool\"\n[dependencies]\ncore.workspace = true\n");
        problems(&read(root.path()).unwrap(), &ALLOWED, &["tool"])
    }

    #[test]
    fn dependencies_up_the_order_are_found_wherever_they_stand() {
        assert_eq!(found("", "[dependencies]\ncore = \"1\"\nserde = \"1\"\n"), [""; 0]);
        let upward = ["core must not depend on io"];
        assert_eq!(found("[dependencies]\nio.workspace = true\n", ""), upward);
        assert_eq!(found("[dev-dependencies]\nother = { package = \"io\", version = \"1\" }\n", ""), upward);
        assert_eq!(found("[target.'cfg(unix)'.dependencies]\nio = { path = \"../io\" }\n", ""), upward);
        assert_eq!(found("", "[build-dependencies]\ntool = \"1\"\n"), ["io must not depend on tool"]);
    }

    #[test]
    fn a_package_that_nobody_placed_is_found() {
        let found = Dependencies::from([("other".into(), Vec::new())]);
        assert_eq!(
            problems(&found, &ALLOWED, &[]),
            ["the package other has no place in the order of packages"]
        );
    }
}
