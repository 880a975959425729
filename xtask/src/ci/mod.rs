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

/// One check: what it is called and how it is run.
struct Step {
    name: &'static str,
    run: fn(&Toolbox) -> Result<()>,
}

/// Quick refusals first, so that a misplaced comma does not wait for a build. Clippy and the
/// documentation share one set of checked dependencies; the last step reuses what `cargo test` built.
const STEPS: &[Step] = &[
    Step {
        name: "tools",
        run: Toolbox::install,
    },
    Step {
        name: "rustfmt",
        run: rustfmt,
    },
    Step {
        name: "tidy",
        run: |_| tidy::run(),
    },
    Step {
        name: "typos",
        run: typos,
    },
    Step {
        name: "unused dependencies",
        run: machete,
    },
    Step {
        name: "licences and sources",
        run: deny,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "documentation",
        run: doc,
    },
    Step {
        name: "tests that need tools or root",
        run: full_tests,
    },
];

/// Runs every check, stopping at the first failure; prints how long each took either way.
pub fn run() -> Result<()> {
    let toolbox = Toolbox::new(target_dir().join("ci-tools"));
    let mut table = Table::new(["check", "result", "seconds"]);
    let mut outcome = Ok(());
    for step in STEPS {
        eprintln!("\n=== {} ===", step.name);
        let started = Instant::now();
        outcome = (step.run)(&toolbox).with_context(|| format!("check failed: {}", step.name));
        table.push(row(step.name, outcome.is_ok(), started.elapsed()));
        if outcome.is_err() {
            break;
        }
    }
    eprintln!("\n{table}");
    outcome
}

fn row(name: &str, passed: bool, took: Duration) -> Vec<String> {
    let result = if passed { "passed" } else { "FAILED" };
    vec![
        name.into(),
        result.into(),
        format!("{:.1}", took.as_secs_f64()),
    ]
}

fn rustfmt(_: &Toolbox) -> Result<()> {
    cargo_step(&["fmt", "--all", "--check"], &[])
}

fn clippy(_: &Toolbox) -> Result<()> {
    // `--locked`: a lock file that does not match the manifests is a failure, not a silent edit.
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    cargo_step(&lints, &[])
}

fn doc(_: &Toolbox) -> Result<()> {
    // RUSTDOCFLAGS and not RUSTFLAGS: the latter would build every dependency a second time.
    let args = ["doc", "--workspace", "--no-deps", "--locked"];
    cargo_step(&args, &[("RUSTDOCFLAGS", "-D warnings")])
}

fn full_tests(_: &Toolbox) -> Result<()> {
    cargo_step(
        &["test", "--workspace", "--locked"],
        &[("TOWLINE_FULL", "1")],
    )
}

fn deny(toolbox: &Toolbox) -> Result<()> {
    // Advisories are left out: they need a database from the network, and fail by themselves over night.
    tool_step(
        toolbox
            .program("cargo-deny")?
            .args(["check", "licenses", "bans", "sources"]),
    )
}

fn machete(toolbox: &Toolbox) -> Result<()> {
    tool_step(&mut toolbox.program("cargo-machete")?)
}

fn typos(toolbox: &Toolbox) -> Result<()> {
    tool_step(&mut toolbox.program("typos")?)
}

fn tool_step(command: &mut Command) -> Result<()> {
    run_command(command.current_dir(workspace_root()))
}

fn cargo_step(args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    tool_step(cargo().args(args).envs(variables.iter().copied()))
}
