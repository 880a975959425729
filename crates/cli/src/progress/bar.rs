//! A bar on a terminal.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::style::ProgressTracker;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use towline_client::monitor::{Event, Monitor};

use super::line::{line, shortened};
use super::state::Progress;
use super::terminal;
use crate::output;

/// How often the line is redrawn.
const TICK: Duration = Duration::from_millis(200);

/// Shows how far a transfer is on the last line; what is printed scrolls above it.
pub(crate) struct Bar {
    bar: ProgressBar,
    shown: Shown,
}

/// What is shown, shared with whoever draws it.
#[derive(Clone)]
struct Shown(Arc<Mutex<State>>);

struct State {
    name: String,
    /// What is waited for, while nothing can come.
    awaited: Option<String>,
    progress: Progress,
}

impl Bar {
    /// A bar for a transfer of `name`, which is safe to print.
    pub(crate) fn new(name: &str) -> Self {
        let awaited = Some("preparing".to_owned());
        let state = State { name: name.to_owned(), awaited, progress: Progress::default() };
        let shown = Shown(Arc::new(Mutex::new(state)));
        let style = style("{line}").with_key("line", shown.clone());
        let bar = ProgressBar::with_draw_target(None, terminal::draw_target()).with_style(style);
        bar.enable_steady_tick(TICK);
        output::print_above(&bar);
        Self { bar, shown }
    }
}

impl Monitor for Bar {
    fn on_event(&self, event: &Event<'_>) {
        self.shown.lock().note(event, Instant::now());
        if let Event::Published { .. } = event {
            self.bar.finish_and_clear();
        }
    }
}

/// A bar that is left without its end (an error, Ctrl-C) leaves no ruins on the screen.
impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl State {
    fn note(&mut self, event: &Event<'_>, now: Instant) {
        self.progress.note(event, now);
        match event {
            Event::Connecting { address, attempt: 1 } => {
                self.awaited = Some(format!("connecting to {address}"));
            }
            Event::Connecting { attempt, .. } => self.awaited = Some(format!("attempt {attempt}")),
            Event::Connected { peer } => {
                self.awaited = Some(format!("waiting for {peer} to answer"));
            }
            // Other connections go on without the one that was lost.
            Event::Retrying { wait, .. } if self.progress.connections == 0 => {
                self.awaited = Some(format!("trying again in {}", output::wait(*wait)));
            }
            Event::Connections { count: 0 } | Event::Retrying { .. } => {}
            Event::Started { .. }
            | Event::Found { .. }
            | Event::FoundAll
            | Event::Connections { .. }
            | Event::Received { .. }
            | Event::Kept { .. } => self.awaited = None,
            _ => {}
        }
    }

    fn line(&self, columns: usize, now: Instant) -> String {
        let Self { name, awaited, progress } = self;
        match awaited {
            Some(awaited) => shortened(&format!("{name}: {awaited}"), columns),
            None => line(name, progress.percent(), &progress.facts(now), columns),
        }
    }
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgressTracker for Shown {
    fn clone_box(&self) -> Box<dyn ProgressTracker> {
        Box::new(self.clone())
    }

    fn tick(&mut self, _: &ProgressState, _: Instant) {}

    fn reset(&mut self, _: &ProgressState, _: Instant) {}

    fn write(&self, _: &ProgressState, out: &mut dyn fmt::Write) {
        // Where it cannot be drawn there is nothing to show.
        let _ = out.write_str(&self.lock().line(terminal::columns(), Instant::now()));
    }
}

/// A bar that counts bytes as they are hashed; nothing where standard error is no terminal.
pub(crate) fn hashing_bar(total_bytes: u64) -> ProgressBar {
    let style = style(
        "hashing {percent:>3} % [{wide_bar}] {binary_bytes} of {binary_total_bytes}, \
         {binary_bytes_per_sec}, {eta} left",
    );
    ProgressBar::with_draw_target(Some(total_bytes), terminal::draw_target())
        .with_style(style.progress_chars("=> "))
}

fn style(template: &'static str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates in this file are well formed")
}
