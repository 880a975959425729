//! The repository as the rules see it: every text file read once, every Rust file parsed once.
//!
//! What `.gitignore` names is left out; `git` itself is not needed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ignore::WalkBuilder;

use super::Violation;
use super::tokens::Tokens;

/// Folders of material that is not written here.
const FOREIGN: &[&str] = &[".git", "fuzz/corpus"];

/// All text files of the workspace.
pub(super) struct Repository {
    files: Vec<TextFile>,
}

/// A text file.
pub(super) struct TextFile {
    /// Relative to the workspace.
    pub(super) path: PathBuf,
    pub(super) text: String,
    rust: Option<Rust>,
}

/// What a Rust file is besides its text.
pub(super) struct Rust {
    pub(super) syntax: syn::File,
    pub(super) tokens: Tokens,
}

impl Repository {
    /// Reads everything below `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut walk = WalkBuilder::new(root);
        let base = root.to_owned();
        walk.hidden(false).require_git(false).sort_by_file_path(Path::cmp);
        walk.filter_entry(move |entry| {
            let path = entry.path().strip_prefix(&base).unwrap_or(entry.path());
            !FOREIGN.iter().any(|folder| path == Path::new(folder))
        });
        let mut files = Vec::new();
        for entry in walk.build() {
            let entry = entry?;
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let bytes = fs::read(entry.path())
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            // What is not UTF-8 is not text: images, archives.
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(TextFile::new(entry.path().strip_prefix(root)?, text)?);
            }
        }
        Ok(Self { files })
    }

    /// A repository made of the given paths and texts.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| TextFile::new(Path::new(path), (*text).into());
        let files = files.iter().map(file).collect::<Result<_>>();
        Self { files: files.expect("samples parse") }
    }

    /// Every text file, in the order of the paths.
    pub(super) fn files(&self) -> impl Iterator<Item = &TextFile> {
        self.files.iter()
    }

    /// Every Rust file, parsed.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&TextFile, &Rust)> {
        let parsed = |file| Some((file, TextFile::rust(file)?));
        self.files.iter().filter_map(parsed)
    }

    /// The file at `path`, if there is one.
    pub(super) fn file(&self, path: &Path) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether `path` is a file or a folder that holds one.
    pub(super) fn holds(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file.path.starts_with(path))
    }

    /// Every package's manifest, parsed.
    pub(super) fn manifests(&self) -> impl Iterator<Item = (&TextFile, toml::Table)> {
        self.files.iter().filter_map(|file| {
            let table: toml::Table =
                file.has_name("Cargo.toml").then(|| file.text.parse().ok())??;
            table.contains_key("package").then_some((file, table))
        })
    }
}

impl TextFile {
    fn new(path: &Path, text: String) -> Result<Self> {
        let mut file = Self { path: path.to_owned(), text, rust: None };
        if file.has_extension("rs") {
            let syntax = syn::parse_file(&file.text)
                .with_context(|| format!("{} does not parse", path.display()))?;
            let tokens = Tokens::of(&file.text);
            file.rust = Some(Rust { syntax, tokens });
        }
        Ok(file)
    }

    /// The parsed file, for a Rust file.
    pub(super) fn rust(&self) -> Option<&Rust> {
        self.rust.as_ref()
    }

    /// Whether the last component of the path is `name`.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.path.file_name().is_some_and(|own| own == name)
    }

    /// Whether the path ends in `.extension`.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|own| own == extension)
    }

    /// The folder the file lies in.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The lines, counted from 1.
    pub(super) fn numbered_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// A violation at `line` of this file.
    pub(super) fn violation(&self, line: usize, message: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, message: message.into() }
    }
}

/// `path` without `.` and `..`, as far as its own components allow.
pub(super) fn normalised(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if plain.pop() => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_and_foreign_files_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["target", "fuzz/corpus", ".ci"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("file"), "text\n").unwrap();
        }
        fs::write(root.path().join("image"), [0xff, 0xfe]).unwrap();
        fs::write(root.path().join(".gitignore"), "/target\n").unwrap();
        let repository = Repository::read(root.path()).unwrap();
        let paths: Vec<_> = repository.files().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, [".ci/file", ".gitignore"]);
    }

    #[test]
    fn paths_are_normalised_within_themselves() {
        assert_eq!(normalised(Path::new("a/./b/../c")), Path::new("a/c"));
        assert_eq!(normalised(Path::new("../a")), Path::new("../a"));
    }
}
