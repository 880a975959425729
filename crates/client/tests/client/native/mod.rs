//! Native downloads from servers that lie, fall silent, or speak something else.

mod answers;
mod content;
mod duplicates;
mod resumed;
mod sessions;
mod silence;
mod support;
mod trees;
