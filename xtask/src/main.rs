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
    /// Check the house rules.
    Tidy,
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Ci => xtask::ci::run(),
        Task::Bench(options) => xtask::bench::run(&options),
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
