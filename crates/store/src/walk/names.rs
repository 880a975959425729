//! The names in one folder, in order, however many there are.
//!
//! They are collected in one block of memory. Where that is full it is sorted and written to a temporary file as a
//! run; runs are merged when they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::FileType;

/// Bytes that are read from a run at once.
const RUN_BUFFER_BYTES: usize = 8 * 1_024;

/// What the folder itself says of a name, which saves a look at what is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hint {
    Folder,
    Link,
    /// Neither of the two.
    File,
    /// Only a look can tell.
    Unknown,
}

/// Takes a folder's names in any order.
#[derive(Debug)]
pub(super) struct Collector {
    bytes_max: usize,
    block: Block,
    spilled: Option<Spilled>,
}

/// Gives a folder's names out in the order of their bytes, each once.
#[derive(Debug)]
pub(super) enum Names {
    InMemory { block: Block, next: usize },
    Merged(Merge),
}

/// Names behind each other.
#[derive(Debug, Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    names: Vec<(Range<u32>, Hint)>,
}

/// Runs in a temporary file.
#[derive(Debug)]
struct Spilled {
    file: File,
    ends: Vec<u64>,
}

/// Runs being merged; the heap has the first name of each that is left.
#[derive(Debug)]
pub(super) struct Merge {
    file_bytes: u64,
    runs: Vec<BufReader<Run>>,
    first: BinaryHeap<Reverse<(Vec<u8>, Hint, usize)>>,
    last: Vec<u8>,
}

/// A run's part of the file.
#[derive(Debug)]
struct Run {
    file: Arc<File>,
    bytes: Range<u64>,
}

impl Hint {
    pub(super) fn of(file_type: FileType) -> Self {
        match file_type {
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Unknown => Self::Unknown,
            _ => Self::File,
        }
    }

    fn from_byte(byte: u8) -> Self {
        let known = [Self::Folder, Self::Link, Self::File];
        known.get(usize::from(byte)).copied().unwrap_or(Self::Unknown)
    }
}

impl Collector {
    /// Keeps about `bytes_max` bytes of names in memory.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, block: Block::default(), spilled: None }
    }

    pub(super) fn add(&mut self, name: &[u8], hint: Hint) -> io::Result<()> {
        if self.block.held_bytes() + name.len() > self.bytes_max && !self.block.names.is_empty() {
            self.spill()?;
        }
        self.block.add(name, hint)
    }

    pub(super) fn finish(mut self) -> io::Result<Names> {
        if self.spilled.is_some() {
            self.spill()?;
        }
        if let Some(spilled) = self.spilled {
            return Ok(Names::Merged(Merge::of(spilled)?));
        }
        self.block.sort();
        Ok(Names::InMemory { block: self.block, next: 0 })
    }

    fn spill(&mut self) -> io::Result<()> {
        self.block.sort();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled { file: tempfile::tempfile()?, ends: Vec::new() }),
        };
        let mut end = spilled.ends.last().copied().unwrap_or(0);
        let mut writer = BufWriter::new(&spilled.file);
        for (name, hint) in self.block.iter() {
            let length = u16::try_from(name.len()).map_err(io::Error::other)?;
            writer.write_all(&length.to_be_bytes())?;
            writer.write_all(&[hint as u8])?;
            writer.write_all(name)?;
            end += 3 + u64::from(length);
        }
        writer.flush()?;
        drop(writer);
        spilled.ends.push(end);
        self.block.bytes.clear();
        self.block.names.clear();
        Ok(())
    }
}

impl Names {
    /// Puts the next name into `name` and tells its hint; `None` where there are no more.
    pub(super) fn next(&mut self, name: &mut Vec<u8>) -> io::Result<Option<Hint>> {
        match self {
            Self::InMemory { block, next } => {
                let Some((range, hint)) = block.names.get(*next) else { return Ok(None) };
                *next += 1;
                name.clear();
                name.extend_from_slice(block.name(range));
                Ok(Some(*hint))
            }
            Self::Merged(merge) => merge.next(name),
        }
    }

    /// Memory that they take, about, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::InMemory { block, .. } => block.held_bytes(),
            Self::Merged(merge) => merge.runs.len() * RUN_BUFFER_BYTES,
        }
    }

    /// What they take up in a temporary file, in bytes.
    pub(super) fn spilled_bytes(&self) -> u64 {
        match self {
            Self::InMemory { .. } => 0,
            Self::Merged(merge) => merge.file_bytes,
        }
    }
}

impl Block {
    fn add(&mut self, name: &[u8], hint: Hint) -> io::Result<()> {
        let start = u32::try_from(self.bytes.len()).map_err(io::Error::other)?;
        self.bytes.extend_from_slice(name);
        let end = u32::try_from(self.bytes.len()).map_err(io::Error::other)?;
        self.names.push((start..end, hint));
        Ok(())
    }

    /// A folder that changes while it is read may tell a name twice.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |range: &Range<u32>| &bytes[range.start as usize..range.end as usize];
        self.names.sort_unstable_by(|(a, _), (b, _)| name(a).cmp(name(b)));
        self.names.dedup_by(|(a, _), (b, _)| name(a) == name(b));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], Hint)> {
        self.names.iter().map(|(range, hint)| (self.name(range), *hint))
    }

    fn name(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.names.len() * size_of::<(Range<u32>, Hint)>()
    }
}

impl Merge {
    fn of(Spilled { file, ends }: Spilled) -> io::Result<Self> {
        let file = Arc::new(file);
        let file_bytes = ends.last().copied().unwrap_or(0);
        let mut start = 0;
        let run = |end| {
            let bytes = std::mem::replace(&mut start, end)..end;
            BufReader::with_capacity(RUN_BUFFER_BYTES, Run { file: Arc::clone(&file), bytes })
        };
        let runs = ends.into_iter().map(run).collect();
        let mut merge = Self { file_bytes, runs, first: BinaryHeap::new(), last: Vec::new() };
        for index in 0..merge.runs.len() {
            merge.advance(index, Vec::new())?;
        }
        Ok(merge)
    }

    fn next(&mut self, name: &mut Vec<u8>) -> io::Result<Option<Hint>> {
        while let Some(Reverse((mut first, hint, index))) = self.first.pop() {
            // No name is empty.
            let is_new = first != self.last;
            if is_new {
                name.clear();
                name.extend_from_slice(&first);
                std::mem::swap(&mut self.last, &mut first);
            }
            self.advance(index, first)?;
            if is_new {
                return Ok(Some(hint));
            }
        }
        Ok(None)
    }

    /// Puts a run's next name into the heap, if there is one.
    fn advance(&mut self, index: usize, mut name: Vec<u8>) -> io::Result<()> {
        let run = &mut self.runs[index];
        if run.buffer().is_empty() && run.get_ref().bytes.is_empty() {
            return Ok(());
        }
        let mut head = [0; 3];
        run.read_exact(&mut head)?;
        let [high, low, hint] = head;
        name.resize(usize::from(u16::from_be_bytes([high, low])), 0);
        run.read_exact(&mut name)?;
        self.first.push(Reverse((name, Hint::from_byte(hint), index)));
        Ok(())
    }
}

impl Read for Run {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.bytes.end - self.bytes.start).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.bytes.start)?;
        self.bytes.start += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::{Collector, Hint, Names};

    fn in_order(names: &[Vec<u8>], bytes_max: usize) -> (Vec<(Vec<u8>, Hint)>, bool) {
        let mut collector = Collector::new(bytes_max);
        for name in names {
            let hint = Hint::from_byte(name[0] % 4);
            collector.add(name, hint).unwrap();
        }
        let mut names = collector.finish().unwrap();
        let (mut taken, mut name) = (Vec::new(), Vec::new());
        while let Some(hint) = names.next(&mut name).unwrap() {
            taken.push((name.clone(), hint));
        }
        (taken, matches!(names, Names::Merged(_)))
    }

    #[test]
    fn names_on_the_disk_come_in_the_order_of_those_in_memory() {
        // 7,919 is prime to 10,000: every number comes, in a wild order, and some come again.
        let numbers = (0..11_000_u32).map(|index| index * 7_919 % 10_000);
        let names: Vec<_> = numbers.map(|number| number.to_string().into_bytes()).collect();
        let (in_memory, was_merged) = in_order(&names, usize::MAX);
        assert!(!was_merged && in_memory.is_sorted() && in_memory.len() == 10_000);
        for bytes_max in [1_000, 5_000, 100_000] {
            let (merged, was_merged) = in_order(&names, bytes_max);
            assert!(was_merged, "{bytes_max}");
            assert_eq!(merged, in_memory, "{bytes_max}");
        }
    }

    #[test]
    fn a_folder_of_nothing_has_no_names() {
        assert_eq!(in_order(&[], 0), (vec![], false));
    }
}
