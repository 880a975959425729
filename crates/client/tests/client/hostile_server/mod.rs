//! Everything from the server is distrusted: what it calls the file, what it says of the content, and
//! whether it speaks this protocol at all.

mod answers;
mod content;
mod links;
mod names;
