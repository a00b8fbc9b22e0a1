//! `cargo xtask sbom [PACKAGE]`: what a package is built from, as CycloneDX 1.6.
//!
//! Every package that building it for any target and with all features takes, with version, license, SHA-256 of its archive and
//! dependencies. What runs while building only (build scripts, procedural macros and their dependencies) has the scope
//! `excluded`. The same lock file gives the same bytes: there is no time and no serial number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

/// The package whose parts are listed if none is named.
const PACKAGE: &str = "bptt-cli";

/// Prints the document of a package.
pub fn run(root: &Path, cargo: &Path, package: Option<&str>) -> ExitCode {
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features", "--locked"])
        .current_dir(root)
        .output();
    let made = metadata
        .map_err(|error| error.to_string())
        .and_then(|output| {
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
        })
        .and_then(|metadata: Value| {
            let lock = fs::read_to_string(root.join("Cargo.lock")).map_err(|error| error.to_string())?;
            document(&metadata, &checksums(&lock)?, package.unwrap_or(PACKAGE))
        });
    match made {
        Ok(document) => {
            println!("{document:#}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("xtask: sbom: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The SHA-256 of every archive in a lock file, by name and version.
fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>, String> {
    let lock: toml::Table = lock.parse().map_err(|error| format!("Cargo.lock: {error}"))?;
    let text = |package: &toml::Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    Ok(packages
        .filter_map(|package| {
            Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")?))
        })
        .collect())
}

/// The packages and their dependencies, by id.
struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Value>,
    dependencies: BTreeMap<&'a str, &'a [Value]>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Value) -> Self {
        let by_id =
            |list: &'a Value| list.as_array().into_iter().flatten().map(|one| (text(&one["id"]), one));
        let dependencies = by_id(&metadata["resolve"]["nodes"])
            .map(|(id, node)| (id, node["deps"].as_array().map_or(&[][..], Vec::as_slice)))
            .collect();
        Self { packages: by_id(&metadata["packages"]).collect(), dependencies }
    }

    /// Whether a package runs while building.
    fn is_macro(&self, id: &str) -> bool {
        let targets = self.packages[id]["targets"].as_array().into_iter().flatten();
        targets.filter_map(|target| target["kind"].as_array()).flatten().any(|kind| kind == "proc-macro")
    }

    /// What a package needs in the program, or also while building.
    fn needed(&self, id: &str, building: bool) -> Vec<&'a str> {
        let of_kind = |dependency: &Value| {
            let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            kinds.map(|kind| &kind["kind"]).any(|kind| kind.is_null() || building && kind == "build")
        };
        let needed = self.dependencies[id].iter().filter(|dependency| of_kind(dependency));
        needed
            .map(|dependency| text(&dependency["pkg"]))
            .filter(|id| building || !self.is_macro(id))
            .collect()
    }

    /// Everything that a package needs, itself included.
    fn closure(&self, id: &'a str, building: bool) -> BTreeSet<&'a str> {
        let (mut reached, mut open) = (BTreeSet::from([id]), vec![id]);
        while let Some(id) = open.pop() {
            open.extend(self.needed(id, building).into_iter().filter(|id| reached.insert(id)));
        }
        reached
    }
}

/// The document of the package `name`.
fn document(
    metadata: &Value,
    checksums: &BTreeMap<(String, String), String>,
    name: &str,
) -> Result<Value, String> {
    let graph = Graph::new(metadata);
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().map(text).collect();
    let root = *members
        .iter()
        .find(|id| graph.packages[*id]["name"] == name)
        .ok_or_else(|| format!("there is no package {name} in the workspace"))?;
    let (in_program, all) = (graph.closure(root, false), graph.closure(root, true));
    let component = |id: &str| {
        let package = graph.packages[id];
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let mut component = json!({
            "type": if id == root { "application" } else { "library" },
            "bom-ref": reference(package),
            "name": name,
            "version": version,
            "scope": if in_program.contains(id) { "required" } else { "excluded" },
            // Some still write MIT/Apache-2.0 for either.
            "licenses": [{ "expression": text(&package["license"]).replace('/', " OR ") }],
            "purl": reference(package),
        });
        if let Some(hash) = checksums.get(&(name.into(), version.into())) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": hash }]);
        }
        component
    };
    let dependencies = all.iter().map(|id| {
        let needed: BTreeSet<String> =
            graph.needed(id, true).into_iter().map(|id| reference(graph.packages[id])).collect();
        json!({ "ref": reference(graph.packages[id]), "dependsOn": needed })
    });
    let dependencies: Vec<Value> = dependencies.collect();
    let mut components: Vec<Value> = all.iter().filter(|id| **id != root).map(|id| component(id)).collect();
    components.extend(all.iter().filter_map(|id| script(graph.packages[id])));
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": component(root) },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// plotly.js, which reports and pages hold: the build script of bptt-view takes it from the package plotly, which is not part of
/// the program itself.
fn script(package: &Value) -> Option<Value> {
    if package["name"] != "plotly" {
        return None;
    }
    let path = Path::new(text(&package["manifest_path"])).with_file_name("resource/plotly.min.js");
    let script = fs::read_to_string(path).ok()?;
    let version = script.lines().find_map(|line| line.strip_prefix("* plotly.js v"))?;
    let purl = format!("pkg:npm/plotly.js@{version}");
    Some(json!({
        "type": "library",
        "bom-ref": purl,
        "name": "plotly.js",
        "version": version,
        "scope": "required",
        "licenses": [{ "expression": "MIT" }],
        "purl": purl,
    }))
}

/// The package URL.
fn reference(package: &Value) -> String {
    let version = text(&package["version"]).replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", text(&package["name"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_while_building_is_no_part_of_the_program() {
        let package = |name: &str, kind: &str| json!({ "id": name, "name": name, "version": "1.0.0+x", "license": "MIT/Apache-2.0", "targets": [{ "kind": [kind] }] });
        let needs = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "workspace_members": ["program"],
            "packages": [
                package("program", "bin"), package("library", "lib"), package("script", "lib"),
                package("macros", "proc-macro"), package("of_macros", "lib"), package("tests", "lib"),
            ],
            "resolve": { "nodes": [
                { "id": "program", "deps": [
                    needs("library", Value::Null), needs("script", "build".into()), needs("tests", "dev".into()),
                ] },
                { "id": "library", "deps": [needs("macros", Value::Null)] },
                { "id": "macros", "deps": [needs("of_macros", Value::Null)] },
                { "id": "of_macros", "deps": [] }, { "id": "script", "deps": [] }, { "id": "tests", "deps": [] },
            ] },
        });
        let lock = "[[package]]\nname = \"library\"\nversion = \"1.0.0+x\"\nchecksum = \"ab\"\n";
        let document = document(&metadata, &checksums(lock).unwrap(), "program").unwrap();
        let scopes: Vec<(&str, &str)> = document["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (text(&one["name"]), text(&one["scope"])))
            .collect();
        let expected = [
            ("library", "required"),
            ("macros", "excluded"),
            ("of_macros", "excluded"),
            ("script", "excluded"),
        ];
        assert_eq!(scopes, expected);
        let library = &document["components"][0];
        assert_eq!(library["purl"], "pkg:cargo/library@1.0.0%2Bx");
        assert_eq!(library["hashes"][0]["content"], "ab");
        assert_eq!(library["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert!(super::document(&metadata, &BTreeMap::new(), "absent").is_err());
    }
}
