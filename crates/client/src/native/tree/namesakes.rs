//! Names that the file system here takes for the same: which of them came first.

use std::collections::HashSet;

use towline_proto::name::RemoteName;
use towline_store::tree::Inode;

/// The inodes that earlier names led to, in each folder on the way to the last name.
#[derive(Debug)]
pub(super) struct Namesakes {
    /// By the file system's clock.
    began_ns: i64,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    folder: Option<Box<[u8]>>,
    met: HashSet<(u64, u64)>,
}

impl Namesakes {
    /// For a run that began at this time.
    pub(super) fn new(began_ns: i64) -> Self {
        Self { began_ns, levels: Vec::new() }
    }

    /// Whether this inode was already reached under another name of the tree. Names come in the order of a listing. One
    /// that has changed since the run began counts as reached: the run itself may have brought it.
    pub(super) fn is_of_another(&mut self, path: &RemoteName, found: Inode) -> bool {
        let parent = path.parent_bytes();
        let is_above = |folder: &Option<Box<[u8]>>| match (folder, parent) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(folder), Some(parent)) => parent
                .strip_prefix(&**folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
        };
        while self.levels.last().is_some_and(|level| !is_above(&level.folder)) {
            self.levels.pop();
        }
        if self.levels.last().is_none_or(|level| level.folder.as_deref() != parent) {
            self.levels.push(Level { folder: parent.map(Box::from), met: HashSet::new() });
        }
        let Some(level) = self.levels.last_mut() else { return false };
        let is_new_here = level.met.insert(found.id);
        found.changed_ns > self.began_ns || !is_new_here && !found.has_names
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::name::RemoteName;
    use towline_store::tree::Inode;

    use super::Namesakes;

    #[test]
    fn what_was_met_in_the_same_folder_or_came_meanwhile_is_of_another() {
        let mut namesakes = Namesakes::new(100);
        let mut check = |path: &str, number, has_names, changed_ns| {
            let found = Inode { id: (1, number), has_names, changed_ns };
            namesakes.is_of_another(&RemoteName::parse(path.as_bytes()).unwrap(), found)
        };
        assert!(!check("A", 1, false, 100));
        assert!(!check("F", 2, false, 99));
        assert!(!check("F/a", 1, false, 99), "in another folder");
        assert!(check("F/b", 3, false, 101), "it came meanwhile");
        assert!(!check("F/c", 4, true, 99));
        assert!(!check("F/d", 4, true, 99), "it has several names");
        assert!(!check("G", 5, false, 99));
        assert!(check("a", 1, false, 99));
        assert!(check("f", 2, false, 99));
    }
}
