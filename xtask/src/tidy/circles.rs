//! The rule that within a crate, too, what is used leads one way: no module uses what uses it.
//!
//! Modules above and below one another count as one room: a folder's `mod.rs` may hold what is in the folder together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Violation;
use super::repository::{Repository, TextFile};

/// A module's names, from the crate's root on.
type Module = Vec<String>;

/// A `use` in one module of something in another.
struct Use<'a> {
    file: &'a TextFile,
    line: usize,
    from: Module,
    to: Module,
}

/// No chain of `use` leads from a module back to it.
pub(super) fn no_circles(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (manifest, _) in repository.manifests() {
        let uses = uses_within(repository, &manifest.folder().join("src"));
        let mut graph: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
        for edge in &uses {
            graph.entry(&edge.from).or_default().insert(&edge.to);
        }
        violations.extend(uses.iter().filter(|edge| leads(&graph, &edge.to, &edge.from)).map(
            |edge| {
                let (from, to) = (edge.from.join("::"), edge.to.join("::"));
                let message = format!(
                    "a circle: `{from}` uses `{to}`, which leads back; give what both need a module of its own"
                );
                edge.file.violation(edge.line, message)
            },
        ));
    }
    violations
}

/// Whether one can go from `start` to `end`.
fn leads(graph: &BTreeMap<&Module, BTreeSet<&Module>>, start: &Module, end: &Module) -> bool {
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![start]);
    while let Some(module) = ahead.pop() {
        if module == end {
            return true;
        }
        if seen.insert(module) {
            ahead.extend(graph.get(module).into_iter().flatten().copied());
        }
    }
    false
}

/// Everything that the modules below `source` use of one another outside of tests.
fn uses_within<'a>(repository: &'a Repository, source: &Path) -> Vec<Use<'a>> {
    let module = |file: &TextFile| module_of(file.path.strip_prefix(source).ok()?);
    let modules: BTreeSet<_> = repository.rust().filter_map(|(file, _)| module(file)).collect();
    let mut uses = Vec::new();
    for (file, rust) in repository.rust() {
        let Some(from) = module(file) else { continue };
        for item in rust.syntax.items.iter().filter_map(shipped_use) {
            let mut paths = Vec::new();
            flatten(&item.tree, &mut Vec::new(), &mut paths);
            let targets: BTreeSet<_> = paths
                .iter()
                .filter_map(|path| target(&from, path, &modules))
                .filter(|to| !to.starts_with(&from) && !from.starts_with(to))
                .collect();
            let line = item.use_token.span.start().line;
            uses.extend(targets.into_iter().map(|to| Use { file, line, from: from.clone(), to }));
        }
    }
    uses
}

/// `a/b.rs` and `a/b/mod.rs` are `a::b`; the crate's root is nothing. `None` for what is no module's file.
fn module_of(path: &Path) -> Option<Module> {
    let mut names: Module = path
        .with_extension("")
        .iter()
        .map(|name| name.to_str().map(str::to_owned))
        .collect::<Option<_>>()?;
    if names.last().is_some_and(|last| last == "mod")
        || ["lib", "main"].contains(&&*names.join("/"))
    {
        names.pop();
    }
    Some(names)
}

fn shipped_use(item: &syn::Item) -> Option<&syn::ItemUse> {
    let syn::Item::Use(item) = item else { return None };
    let is_conditional = item.attrs.iter().any(|attribute| attribute.path().is_ident("cfg"));
    (!is_conditional).then_some(item)
}

/// All the paths that a `use` names, each without its last name where that is a `*` or `self`.
fn flatten(tree: &syn::UseTree, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, paths);
            before.pop();
        }
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, before, paths));
        }
        syn::UseTree::Name(syn::UseName { ident })
        | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
            paths.push([&before[..], &[ident.to_string()]].concat());
        }
        syn::UseTree::Glob(_) => paths.push(before.clone()),
    }
}

/// The module of this crate that a path in the module `from` is about.
fn target(from: &Module, path: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let (mut base, mut rest) = match first.as_str() {
        "crate" => (Vec::new(), rest),
        "self" => (from.clone(), rest),
        "super" => (from[..from.len().checked_sub(1)?].to_vec(), rest),
        _ => return None,
    };
    while let Some((name, after)) = rest.split_first()
        && name == "super"
    {
        base.pop();
        rest = after;
    }
    let whole = [base, rest.to_vec()].concat();
    (0..=whole.len()).rev().map(|length| whole[..length].to_vec()).find(|it| modules.contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let manifest = ("a/Cargo.toml", "[package]\nname = \"a\"\n");
        let repository = Repository::of(&[&[manifest], files].concat());
        let place = |violation: Violation| (violation.path.display().to_string(), violation.line);
        let mut found: Vec<_> = no_circles(&repository).into_iter().map(place).collect();
        found.sort();
        found
    }

    #[test]
    fn modules_that_use_one_another_are_found_however_they_are_named() {
        let found = circles(&[
            ("a/src/lib.rs", "mod one;\nmod other;\nmod folder;\n"),
            ("a/src/one.rs", "use std::fs;\nuse crate::{other::A, folder};\n"),
            ("a/src/other.rs", "\nuse super::folder::deep::*;\n"),
            ("a/src/folder/mod.rs", "mod deep;\n"),
            ("a/src/folder/deep.rs", "use super::super::one::{self, B as C};\n"),
        ]);
        let place = |path: &str, line| (path.to_owned(), line);
        let expected = [("a/src/folder/deep.rs", 1), ("a/src/one.rs", 2), ("a/src/other.rs", 2)];
        assert_eq!(found, expected.map(|(path, line)| place(path, line)));
    }

    #[test]
    fn a_folder_and_what_is_in_it_and_tests_are_fine() {
        let found = circles(&[
            ("a/src/main.rs", "mod folder;\nuse crate::folder::A;\n"),
            ("a/src/folder/mod.rs", "mod deep;\nmod beside;\npub use self::deep::B;\n"),
            ("a/src/folder/deep.rs", "use super::A;\nuse super::beside::C;\n"),
            (
                "a/src/folder/beside.rs",
                "#[cfg(test)]\nuse super::deep::B;\n#[cfg(test)]\nmod tests { use super::super::deep::B; }\n",
            ),
        ]);
        assert_eq!(found, []);
    }
}
