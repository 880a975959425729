//! The terminal that bars are drawn on.

use std::io;

use console::Term;
use indicatif::{ProgressDrawTarget, TermLike};

/// Columns at the end of the line that stay free: the `^C` of a terminal is cleared with the line then. Behind a
/// full line it would begin another, and the bar would stay.
const FREE_COLUMNS: u16 = 3;

/// Redraws in a second, at most.
const DRAWS_PER_S: u8 = 20;

/// Standard error, but for the last columns.
#[derive(Debug)]
struct Narrowed(Term);

/// Draws on standard error; nothing where that is no terminal.
pub(super) fn draw_target() -> ProgressDrawTarget {
    let terminal = Term::stderr();
    if !terminal.is_term() {
        return ProgressDrawTarget::hidden();
    }
    ProgressDrawTarget::term_like_with_hz(Box::new(Narrowed(terminal)), DRAWS_PER_S)
}

/// Columns that there are to draw on.
pub(super) fn columns() -> usize {
    usize::from(Narrowed(Term::stderr()).width())
}

impl TermLike for Narrowed {
    fn width(&self) -> u16 {
        self.0.size().1.saturating_sub(FREE_COLUMNS).max(1)
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
