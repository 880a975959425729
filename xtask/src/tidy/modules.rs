//! A rule about files that nothing refers to: the compiler never sees them, so nobody notices them rot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Violation;
use super::repository::{Repository, TextFile, normalised};

/// Every Rust file is reached from a root of its package by `mod`.
pub(super) fn dead_files(repository: &Repository) -> Vec<Violation> {
    let mut reached = BTreeSet::new();
    for (manifest, table) in repository.manifests() {
        for root in roots(repository, manifest, &table) {
            // The modules of a root lie beside it.
            reach(repository, &root, root.parent().unwrap_or(Path::new("")), &mut reached);
        }
    }
    repository
        .rust()
        .filter(|(file, _)| !reached.contains(&file.path))
        .map(|(file, _)| file.violation(0, "a dead file: no `mod` leads here"))
        .collect()
}

/// The files that cargo compiles by itself: those it finds and those the manifest names.
fn roots(repository: &Repository, manifest: &TextFile, table: &toml::Table) -> Vec<PathBuf> {
    let package = manifest.folder();
    let is_found = |file: &TextFile| {
        let Ok(path) = file.path.strip_prefix(package) else {
            return false;
        };
        let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
        matches!(
            parts.as_slice(),
            ["build.rs"]
                | ["src", "lib.rs" | "main.rs"]
                | ["src", "bin", _]
                | ["src", "bin", _, "main.rs"]
                | ["tests" | "benches" | "examples", _]
                | ["tests" | "benches" | "examples", _, "main.rs"]
        )
    };
    let found = repository.rust().map(|(file, _)| file).filter(|file| is_found(file));
    let named = table.values().flat_map(|section| match section {
        toml::Value::Array(targets) => targets.iter().collect(),
        single => vec![single],
    });
    let named =
        named.filter_map(|target| Some(normalised(&package.join(target.get("path")?.as_str()?))));
    found.map(|file| file.path.clone()).chain(named).collect()
}

/// Adds the file at `path`, whose modules lie in the folder `home`, and what its `mod` items lead to.
fn reach(repository: &Repository, path: &Path, home: &Path, reached: &mut BTreeSet<PathBuf>) {
    let Some(rust) = repository.file(path).and_then(TextFile::rust) else {
        return;
    };
    if reached.insert(path.to_owned()) {
        follow(repository, &rust.syntax.items, path, home, reached);
    }
}

fn follow(
    repository: &Repository,
    items: &[syn::Item],
    path: &Path,
    home: &Path,
    reached: &mut BTreeSet<PathBuf>,
) {
    let folder = path.parent().unwrap_or(Path::new(""));
    for item in items {
        let syn::Item::Mod(module) = item else {
            continue;
        };
        let below = home.join(module.ident.to_string());
        if let Some((_, inner)) = &module.content {
            follow(repository, inner, path, &below, reached);
        } else if let Some(named) = path_attribute(module) {
            let named = normalised(&folder.join(named));
            reach(repository, &named, named.parent().unwrap_or(folder), reached);
        } else {
            reach(repository, &below.with_extension("rs"), &below, reached);
            reach(repository, &below.join("mod.rs"), &below, reached);
        }
    }
}

/// The value of `#[path = "…"]`.
fn path_attribute(module: &syn::ItemMod) -> Option<String> {
    module.attrs.iter().find_map(|attribute| {
        let pair = attribute.meta.require_name_value().ok()?;
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &pair.value else {
            return None;
        };
        pair.path.is_ident("path").then(|| path.value())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"a\"\n[[bin]]\nname = \"b\"\npath = \"odd/b.rs\"\n";

    #[test]
    fn a_file_without_a_mod_is_found() {
        let repository = Repository::of(&[
            ("a/Cargo.toml", MANIFEST),
            ("a/src/lib.rs", "mod used;\nmod folder;\nmod inline { mod deep; }\n"),
            ("a/src/used.rs", "mod below;\n#[path = \"elsewhere.rs\"]\nmod other;\n"),
            ("a/src/used/below.rs", ""),
            ("a/src/below.rs", ""),
            ("a/src/elsewhere.rs", ""),
            ("a/src/folder/mod.rs", "mod beside;\n"),
            ("a/src/folder/beside.rs", ""),
            ("a/src/inline/deep.rs", ""),
            ("a/src/dead.rs", ""),
            ("a/tests/it.rs", "mod common;\n"),
            ("a/tests/common/mod.rs", ""),
            ("a/tests/common/dead.rs", ""),
            ("a/odd/b.rs", ""),
            ("nowhere.rs", ""),
        ]);
        let dead: Vec<_> = dead_files(&repository).into_iter().map(|v| v.path).collect();
        let expected = ["a/src/below.rs", "a/src/dead.rs", "a/tests/common/dead.rs", "nowhere.rs"];
        assert_eq!(dead, expected.map(PathBuf::from));
    }
}
