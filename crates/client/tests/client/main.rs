//! The client against servers that lie, networks that fail and disks that refuse. What the bytes mean is
//! tested in `proto`, how a file is staged in `store`; here a whole download keeps its promises.

mod faults;
mod hostile_server;
mod journal;
mod journal_body;
mod local_disk;
mod native;
mod support;
