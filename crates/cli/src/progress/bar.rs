//! A bar on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use towline_client::monitor::{Event, Monitor};

use crate::output;
use crate::trust::Told;

/// How often the rate and the spinner are redrawn while nothing arrives.
const TICK: Duration = Duration::from_millis(200);

/// Shows bytes moved, rate and time left; messages scroll above it.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for a transfer of `name`, which is safe to print.
    pub(crate) fn new(name: &str) -> Self {
        let bar =
            ProgressBar::no_length().with_style(waiting_style()).with_message(name.to_owned());
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    fn say(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| output::message(text));
    }
}

impl Monitor for Bar {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Connecting { address, attempt: 1 } => {
                self.bar.set_prefix(format!("connecting to {address}"));
            }
            Event::Connecting { attempt, .. } => self.bar.set_prefix(format!("attempt {attempt}")),
            Event::Connected { peer } => {
                self.bar.set_prefix(format!("waiting for {peer} to answer"));
            }
            Event::Trusted { news } => self.say(Told(news)),
            Event::Started { size, .. } => {
                self.bar.set_style(transfer_style());
                self.bar.set_length(*size);
                self.bar.set_position(0);
                self.bar.reset_eta();
            }
            Event::Received { bytes } => self.bar.inc(*bytes),
            Event::Kept { bytes } => {
                self.bar.inc(*bytes);
                // What was here already says nothing about the rate.
                self.bar.reset_eta();
            }
            Event::Damaged { bytes } => {
                self.bar.set_position(self.bar.position().saturating_sub(*bytes));
                self.say(format_args!(
                    "{} came damaged and are fetched again",
                    output::size(*bytes)
                ));
            }
            Event::Retrying { error, wait, discarded_bytes, .. } => {
                self.bar.set_style(waiting_style());
                self.bar.set_prefix(format!("trying again in {wait:?}"));
                self.say(super::lines::Retry {
                    error,
                    wait: *wait,
                    discarded_bytes: *discarded_bytes,
                });
            }
            Event::Published { .. } => self.bar.finish_and_clear(),
            _ => {}
        }
    }
}

/// A bar that is left without its end (an error, Ctrl-C) leaves no ruins on the screen.
impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn waiting_style() -> ProgressStyle {
    style("{spinner} {msg}: {prefix}")
}

/// The style of every bar that counts bytes.
pub(crate) fn transfer_style() -> ProgressStyle {
    style(
        "{msg} {percent:>3} % [{wide_bar}] {binary_bytes} of {binary_total_bytes}, \
         {binary_bytes_per_sec}, {eta} left",
    )
    .progress_chars("=> ")
}

fn style(template: &'static str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates in this file are well formed")
}
