//! `cargo xtask ci`: the checks in order, each timed, up to the first that fails.
//!
//! Which tools they need and how those are had is in `tools`. Fuzzing is not a check: it has no end.

mod tools;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::process::{cargo, run as run_command};
use crate::table::Table;
use crate::{target_dir, tidy, workspace_root};
use tools::Toolbox;

type Check = fn(&Toolbox) -> Result<()>;

/// Quick refusals first, so that a misplaced comma does not wait for a build. Clippy and the
/// documentation share one set of checked dependencies; the last step reuses what `cargo test` built.
const CHECKS: &[(&str, Check)] = &[
    ("tools", Toolbox::install),
    ("rustfmt", rustfmt),
    ("house rules", house_rules),
    ("typos", typos),
    ("unused dependencies", machete),
    ("licences and sources", deny),
    ("clippy", clippy),
    ("documentation", doc),
    ("tests that need tools or root", full_tests),
];

/// Runs every check, stopping at the first failure; prints how long each took either way.
pub fn run() -> Result<()> {
    let toolbox = Toolbox::new(target_dir().join("ci-tools"));
    let mut table = Table::new(["check", "result", "seconds"]);
    let mut outcome = Ok(());
    for (name, check) in CHECKS {
        eprintln!("\n=== {name} ===");
        let started = Instant::now();
        outcome = check(&toolbox).with_context(|| format!("check failed: {name}"));
        table.push(row(name, outcome.is_ok(), started.elapsed()));
        if outcome.is_err() {
            break;
        }
    }
    eprintln!("\n{table}");
    outcome
}

fn row(name: &str, passed: bool, took: Duration) -> Vec<String> {
    let result = if passed { "passed" } else { "FAILED" };
    vec![name.into(), result.into(), format!("{:.1}", took.as_secs_f64())]
}

fn rustfmt(_: &Toolbox) -> Result<()> {
    run_in_workspace(&mut cargo_with("fmt --all --check"))
}

fn house_rules(_: &Toolbox) -> Result<()> {
    tidy::run()
}

fn clippy(_: &Toolbox) -> Result<()> {
    run_in_workspace(&mut cargo_with("clippy --workspace --all-targets -- -D warnings"))
}

fn doc(_: &Toolbox) -> Result<()> {
    // RUSTDOCFLAGS and not RUSTFLAGS: the latter would build every dependency a second time.
    run_in_workspace(cargo_with("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
}

/// Tests skip, with a printed reason, what a newcomer's machine lacks; here a lack is a failure.
fn full_tests(_: &Toolbox) -> Result<()> {
    run_in_workspace(cargo_with("test --workspace").env("TOWLINE_FULL", "1"))
}

fn deny(toolbox: &Toolbox) -> Result<()> {
    // Advisories are left out: they need a database from the network, and fail by themselves over night.
    let mut deny = toolbox.program("cargo-deny")?;
    run_in_workspace(deny.args(["check", "licenses", "bans", "sources"]))
}

fn machete(toolbox: &Toolbox) -> Result<()> {
    // With metadata it knows that the package `md-5` is the crate `md5`.
    run_in_workspace(toolbox.program("cargo-machete")?.arg("--with-metadata"))
}

fn typos(toolbox: &Toolbox) -> Result<()> {
    run_in_workspace(&mut toolbox.program("typos")?)
}

fn run_in_workspace(command: &mut Command) -> Result<()> {
    run_command(command.current_dir(workspace_root()))
}

/// Cargo with arguments that hold no spaces.
fn cargo_with(arguments: &str) -> Command {
    let mut command = cargo();
    command.args(arguments.split(' '));
    command
}
