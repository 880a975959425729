//! The house rules as code: what a reviewer would otherwise have to say again and again.
//!
//! A rule is a function from the repository to violations, with a test that shows it failing. What the
//! compiler and clippy already check is not repeated here.

mod arrows;
mod circles;
mod modules;
mod promises;
mod purity;
mod repository;
mod rust_shape;
mod text;
mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::workspace_root;
use repository::Repository;

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, relative to the workspace.
    pub path: PathBuf,
    /// The line, counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// Adding a rule is adding a line.
const RULES: &[fn(&Repository) -> Vec<Violation>] = &[
    text::clean_lines,
    text::forbidden_words,
    rust_shape::opens_with_its_purpose,
    rust_shape::file_length,
    rust_shape::function_length,
    modules::dead_files,
    arrows::dependencies_follow_the_arrows,
    circles::no_circles,
    purity::pure_files_have_no_clock,
    purity::tests_do_not_sleep,
    purity::unsafe_stays_in_its_place,
    promises::links_resolve,
    promises::promised_tests_exist,
];

/// Every violation below `root`, in the order of the files.
pub fn check(root: &Path) -> Result<Vec<Violation>> {
    let repository = Repository::read(root)?;
    let mut violations: Vec<_> = RULES.iter().flat_map(|rule| rule(&repository)).collect();
    violations.sort();
    Ok(violations)
}

/// Checks this workspace and lists what it finds.
pub fn run() -> Result<()> {
    let violations = check(workspace_root())?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => bail!("the house rules are broken in {count} places"),
    }
}
