//! Development tasks: the checks (`ci`), the house rules (`tidy`), the measurements (`bench`).
//!
//! Nothing here ships, and nothing that ships depends on it.

#![expect(
    clippy::disallowed_methods,
    reason = "paths are this repository's own, and most are arguments of other programs"
)]

pub mod bench;
pub mod ci;
pub mod tidy;

mod debian;
mod process;
mod table;

use std::path::{Path, PathBuf};

/// The folder that holds the workspace's `Cargo.toml`.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package xtask lies one folder below the workspace")
}

/// Where cargo builds, as the environment says it or by default.
fn target_dir() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace_root().join(named)
}
