//! Native downloads from servers that lie, fall silent, or speak something else.

mod answers;
mod content;
mod duplicates;
mod silence;
mod support;
