//! `towline demo`: the whole system on loopback, in one process and a folder of its own.
//!
//! Each act fetches the same file in another way and brings a row of the closing table. A new way is a new
//! file and a line in [`acts`].

mod classic;
mod cutter;
mod native;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tracing::level_filters::LevelFilter;

use self::stage::Stage;
use super::block_on;
use crate::exit::{Exit, Failure};
use crate::logging::{self, LogOptions};
use crate::signals::Endings;
use crate::{options, output};

/// Serves and fetches a file on this machine, shows how, and verifies every byte.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A file of yours to move about, instead of one made up; it is only read
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Size of the file that is made up
    #[arg(long, default_value = "256M", value_parser = options::size, conflicts_with = "file")]
    size: u64,
}

/// What one act did.
pub(super) struct Row {
    what: &'static str,
    elapsed: Duration,
    note: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let _log = logging::start(&LogOptions { file: None, console: LevelFilter::OFF, verbose: 0 });
    block_on(async {
        let mut endings = Endings::catch().context("cannot catch signals")?;
        tokio::select! {
            result = play(args) => result,
            _ = endings.next() => {
                Err(Failure::new(Exit::Interrupted, anyhow!("interrupted")))
            }
        }
    })
}

async fn play(args: &Args) -> Result<(), Failure> {
    let stage = Stage::set(args.file.as_deref(), args.size).await?;
    output::message(format_args!(
        "A towline server shares {} ({}) on {}.\n",
        stage.file_name,
        output::size(stage.size),
        stage.server
    ));
    let rows = acts(&stage).await?;
    print_table(&rows, stage.size);
    stage.clear().await
}

/// The acts, in order; each ends with the file's bytes compared.
async fn acts(stage: &Stage) -> Result<Vec<Row>, Failure> {
    Ok(vec![
        classic::whole(stage).await?,
        classic::cut_in_the_middle(stage).await?,
        native::plain(stage).await?,
        native::whole(stage).await?,
        native::cut_in_the_middle(stage).await?,
    ])
}

/// Says what the next act is about.
pub(super) fn announce(what: &str) {
    output::message(format_args!("* {what}"));
}

fn print_table(rows: &[Row], size: u64) {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    output::event(format_args!("\n{:width$}  {:>9}  {:>14}  note", "transfer", "time", "rate"));
    for Row { what, elapsed, note } in rows {
        let time = output::seconds(*elapsed).to_string();
        let rate = output::rate(size, *elapsed).to_string();
        output::event(format_args!("{what:width$}  {time:>9}  {rate:>14}  {note}"));
    }
    output::event(format_args!("\nEvery copy was compared with the original: all bytes match."));
}
