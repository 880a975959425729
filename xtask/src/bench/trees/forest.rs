//! The trees that are measured. What is in them follows from their shape alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use towline_testkit::random::Random;

use crate::bench::report::Work;
use crate::bench::system::Interruption;

/// A tree to be made.
pub(super) enum Forest {
    Even(Even),
    Project(Project),
}

/// Folders beside each other, with as many files each.
pub(super) struct Even {
    pub(super) folders: u64,
    pub(super) files_in_each: u64,
    /// The least and the most bytes that a file has.
    pub(super) file_bytes: (u64, u64),
}

/// What the source code of a large project looks like: folders within folders, most files small, a few
/// hundred times as large, and some archives.
pub(super) struct Project {
    pub(super) files: u64,
    pub(super) archives: u64,
}

impl Project {
    const FILES_IN_A_FOLDER: u64 = 15;
    const ARCHIVE_BYTES: u64 = 4 << 20;
    const DEPTH_MAX: usize = 6;

    /// Between 64 bytes and 32 KiB, each doubling as likely as the others; one in a hundred is longer.
    fn file_bytes(random: &mut Random) -> u64 {
        let doubling = 64 << random.below(9);
        let bytes = doubling + random.below(doubling);
        if random.below(100) == 0 { bytes * 32 } else { bytes }
    }
}

impl Forest {
    /// Makes it in `root`, which is not there yet, and tells what it came to.
    pub(super) fn plant(&self, root: &Path, interruption: &Interruption) -> Result<Work> {
        let mut planter = Planter {
            random: Random::from_seed(1),
            content: Vec::new(),
            work: Work { files: 0, bytes: 0 },
            interruption,
        };
        match self {
            Self::Even(even) => planter.plant_evenly(root, even)?,
            Self::Project(project) => planter.plant_project(root, project)?,
        }
        Ok(planter.work)
    }
}

struct Planter<'a> {
    random: Random,
    /// As large as the largest file so far.
    content: Vec<u8>,
    work: Work,
    interruption: &'a Interruption,
}

impl Planter<'_> {
    fn plant_evenly(&mut self, root: &Path, even: &Even) -> Result<()> {
        let (least, most) = even.file_bytes;
        for folder in 0..even.folders {
            let folder = root.join(format!("folder-{folder:04}"));
            self.folder(&folder)?;
            for file in 0..even.files_in_each {
                let bytes = least + self.random.below(most - least + 1);
                self.file(&folder.join(format!("file-{file:04}.dat")), bytes)?;
            }
        }
        Ok(())
    }

    fn plant_project(&mut self, root: &Path, project: &Project) -> Result<()> {
        let mut folders = vec![(root.to_owned(), 0)];
        self.folder(root)?;
        for number in 0..project.files.div_ceil(Project::FILES_IN_A_FOLDER) {
            let folder = self.folder_within(&mut folders, number)?;
            for file in 0..Project::FILES_IN_A_FOLDER {
                let bytes = Project::file_bytes(&mut self.random);
                self.file(&folder.join(format!("module_{file:02}.c")), bytes)?;
            }
            if number < project.archives {
                self.file(&folder.join("firmware.bin"), Project::ARCHIVE_BYTES)?;
            }
        }
        Ok(())
    }

    /// Makes a folder in one of those that are there.
    fn folder_within(
        &mut self,
        folders: &mut Vec<(PathBuf, usize)>,
        number: u64,
    ) -> Result<PathBuf> {
        let parent = self.random.below(folders.len() as u64);
        let (parent, depth) = &folders[usize::try_from(parent)?];
        let folder = parent.join(format!("subsystem-{number:04}"));
        let depth = depth + 1;
        self.folder(&folder)?;
        if depth < Project::DEPTH_MAX {
            folders.push((folder.clone(), depth));
        }
        Ok(folder)
    }

    fn folder(&self, path: &Path) -> Result<()> {
        self.interruption.check()?;
        Ok(fs::create_dir_all(path)?)
    }

    fn file(&mut self, path: &Path, bytes: u64) -> Result<()> {
        let length = usize::try_from(bytes)?;
        if self.content.len() < length {
            self.content.resize(length, 0);
        }
        self.random.fill(&mut self.content[..length]);
        fs::write(path, &self.content[..length])?;
        self.work.files += 1;
        self.work.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::contestant::verify;

    #[test]
    fn a_tree_is_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let forest = Forest::Project(Project { files: 60, archives: 1 });
        let never = Interruption::default();
        let work = forest.plant(&path("one"), &never).unwrap();
        assert_eq!(work.files, 61);
        assert!(work.bytes > Project::ARCHIVE_BYTES, "{work:?}");
        forest.plant(&path("other"), &never).unwrap();
        verify(&path("one"), &path("other")).unwrap();
    }

    #[test]
    fn files_of_an_even_tree_keep_to_their_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let even = Even { folders: 3, files_in_each: 40, file_bytes: (0, 9) };
        let root = folder.path().join("tree");
        let work = Forest::Even(even).plant(&root, &Interruption::default()).unwrap();
        assert_eq!(work.files, 120);
        let mut sizes: Vec<_> = fs::read_dir(root.join("folder-0001"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes.len(), 40);
        assert!(sizes[39] <= 9 && sizes[39] > sizes[0], "{sizes:?}");
    }
}
