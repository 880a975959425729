//! The rule about which crate may use which: data flows one way, and so do the dependencies.

use super::Violation;
use super::repository::{Repository, TextFile};

/// What each package may depend on. A package that is not here has no place in the architecture yet.
const ARROWS: &[(&str, &[&str])] = &[
    ("towline-proto", &[]),
    ("towline-net", &["towline-proto"]),
    ("towline-store", &["towline-proto"]),
    ("towline-server", &["towline-net", "towline-store", "towline-proto"]),
    ("towline-client", &["towline-net", "towline-store", "towline-proto"]),
    (
        "towline",
        &["towline-server", "towline-client", "towline-net", "towline-store", "towline-proto"],
    ),
    ("towline-testkit", &["towline-net", "towline-store", "towline-proto"]),
    // The tasks speak to towline as a user does, by its command line; the testkit lends them its link.
    ("xtask", &["towline-testkit"]),
];

/// Whoever fuzzes may reach everything; it lies outside the workspace.
const WITHOUT_ARROWS: &[&str] = &["towline-fuzz"];

/// For tests alone, and so open to every crate's tests.
const TESTKIT: &str = "towline-testkit";

/// No manifest names a crate of the workspace against the arrows.
pub(super) fn dependencies_follow_the_arrows(repository: &Repository) -> Vec<Violation> {
    repository
        .manifests()
        .flat_map(|(file, manifest)| against_the_arrows(file, &manifest))
        .collect()
}

fn against_the_arrows(file: &TextFile, manifest: &toml::Table) -> Vec<Violation> {
    let name = manifest["package"].get("name").and_then(toml::Value::as_str).unwrap_or_default();
    if WITHOUT_ARROWS.contains(&name) {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(package, _)| *package == name) else {
        return vec![file.violation(0, format!("`{name}` has no place among the arrows"))];
    };
    let mut violations = Vec::new();
    for (kind, dependency) in workspace_dependencies(manifest) {
        let for_tests = kind == "dev-dependencies" && dependency == TESTKIT;
        if !for_tests && !allowed.contains(&dependency.as_str()) {
            let message = format!("`{name}` must not depend on `{dependency}` ({kind})");
            violations.push(file.violation(line_of(file, &dependency), message));
        }
    }
    violations
}

/// The crates of this workspace that a manifest names, each with the table that names it.
fn workspace_dependencies(manifest: &toml::Table) -> Vec<(&'static str, String)> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let by_target = targets.into_iter().flat_map(|table| table.values());
    let tables = by_target.filter_map(toml::Value::as_table).chain([manifest]);
    let mut dependencies = Vec::new();
    for table in tables {
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(entries) = table.get(kind).and_then(toml::Value::as_table) else {
                continue;
            };
            for (key, value) in entries {
                // A dependency may be renamed; the package is what counts.
                let package = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
                if ARROWS.iter().any(|(known, _)| *known == package) {
                    dependencies.push((kind, package.to_owned()));
                }
            }
        }
    }
    dependencies
}

fn line_of(file: &TextFile, word: &str) -> usize {
    file.numbered_lines().find(|(_, line)| line.contains(word)).map_or(0, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(manifest: &str) -> Vec<Violation> {
        dependencies_follow_the_arrows(&Repository::of(&[("Cargo.toml", manifest)]))
    }

    #[test]
    fn a_dependency_against_the_arrows_is_found() {
        for (name, wrong) in [
            ("towline-proto", "[dependencies]\ntowline-net.workspace = true"),
            ("towline-net", "[build-dependencies]\ntowline-store = { path = \"../store\" }"),
            ("towline-server", "[dependencies]\nother = { package = \"towline-client\" }"),
            ("towline-client", "[target.'cfg(unix)'.dependencies]\ntowline-server = \"1\""),
            ("towline", "[dependencies]\ntowline-testkit.workspace = true"),
            ("towline-upstart", ""),
        ] {
            let manifest = format!("[package]\nname = \"{name}\"\n{wrong}\n");
            assert_eq!(violations(&manifest).len(), 1, "{manifest}");
        }
    }

    #[test]
    fn the_arrows_themselves_and_the_testkit_in_tests_are_fine() {
        let manifest = "[package]\nname = \"towline-net\"\n[dependencies]\ntowline-proto = \"1\"\ntokio = \"1\"\n\
                        [dev-dependencies]\ntowline-testkit = \"1\"\n";
        assert_eq!(violations(manifest), []);
        assert_eq!(
            violations("[package]\nname = \"towline-fuzz\"\n[dependencies]\ntowline = \"1\"\n"),
            []
        );
    }
}
