//! The folders of a tree, in a file without a name: their times and permissions can be set only when all is in them,
//! and there may be more of them than memory should hold.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use towline_proto::name::RemoteName;
use towline_store::tree::{Attributes, Mode};

/// Writes down folders.
#[derive(Debug)]
pub(super) struct Folders(BufWriter<File>);

impl Folders {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(BufWriter::new(tempfile::tempfile()?)))
    }

    pub(super) fn add(&mut self, path: &RemoteName, attributes: Attributes) -> io::Result<()> {
        let path = path.as_bytes();
        // A name is far shorter than 64 KiB.
        let length = u16::try_from(path.len()).map_err(io::Error::other)?;
        let mode = if let Mode::Keep(mode) = attributes.mode { mode } else { u32::MAX };
        self.0.write_all(&length.to_be_bytes())?;
        self.0.write_all(&attributes.modified_ns.to_be_bytes())?;
        self.0.write_all(&mode.to_be_bytes())?;
        self.0.write_all(path)
    }

    /// Tells all that were added, in the same order.
    pub(super) fn for_each(self, mut tell: impl FnMut(RemoteName, Attributes)) -> io::Result<()> {
        let mut file = self.0.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut left = file.stream_position()?;
        file.rewind()?;
        let mut file = BufReader::new(file);
        while left > 0 {
            let (mut length, mut modified_ns, mut mode) = ([0; 2], [0; 8], [0; 4]);
            file.read_exact(&mut length)?;
            file.read_exact(&mut modified_ns)?;
            file.read_exact(&mut mode)?;
            let mut path = vec![0; usize::from(u16::from_be_bytes(length))];
            file.read_exact(&mut path)?;
            left -= (length.len() + modified_ns.len() + mode.len() + path.len()) as u64;
            let mode = match u32::from_be_bytes(mode) {
                u32::MAX => Mode::Default,
                mode => Mode::Keep(mode),
            };
            let attributes = Attributes { modified_ns: i64::from_be_bytes(modified_ns), mode };
            tell(RemoteName::parse(&path).map_err(io::Error::other)?, attributes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::name::RemoteName;
    use towline_store::tree::{Attributes, Mode};

    use super::Folders;

    #[test]
    fn folders_come_back_as_they_went_in() {
        let all: Vec<_> = [("a", Mode::Default), ("a/b", Mode::Keep(0o750))]
            .map(|(path, mode)| {
                let path = RemoteName::parse(path.as_bytes()).unwrap();
                (path, Attributes { modified_ns: -7, mode })
            })
            .into();
        let mut folders = Folders::new().unwrap();
        for (path, attributes) in &all {
            folders.add(path, *attributes).unwrap();
        }
        let mut back = Vec::new();
        folders.for_each(|path, attributes| back.push((path, attributes))).unwrap();
        assert_eq!(back, all);
    }
}
