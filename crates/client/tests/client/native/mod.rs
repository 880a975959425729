//! Native downloads from servers that lie, fall silent, or speak something else.

mod answers;
mod content;
mod duplicates;
mod resumed;
mod silence;
mod support;
