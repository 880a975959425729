//! The command line of `cargo xtask`; what the tasks do lives in the library beside it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check a change must pass, installing the tools that are missing.
    Ci,
    /// Measure towline and its peers side by side.
    Bench(xtask::bench::Options),
    /// Move or hash bytes as a limit that `bench` measures
    #[command(name = xtask::bench::LIMIT_COMMAND, hide = true)]
    BenchLimit(xtask::bench::Limit),
    /// Check the house rules.
    Tidy,
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Ci => xtask::ci::run(),
        Task::Bench(options) => xtask::bench::run(&options),
        Task::BenchLimit(limit) => xtask::bench::run_limit(&limit),
        Task::Tidy => xtask::tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
