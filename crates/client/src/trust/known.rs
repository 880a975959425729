//! The file of known servers: one line each, with what the server must prove. Read by people, and changed by several
//! processes at once.

use std::io;
use std::path::{Path, PathBuf};

use towline_proto::escape::EscapedPath;
use towline_store::private_file::{PrivateFile, PrivateFileError};

use super::{Place, Way};

/// What a new file begins with.
const TITLE: &str =
    "# Servers that towline knows, and what each must prove; see `towline pins --help`.";

/// The servers that are known, in a file, or nowhere.
#[derive(Clone, Debug, Default)]
pub struct KnownServers {
    path: Option<PathBuf>,
}

/// Whether something else that is remembered of a server is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overwrite {
    /// It is.
    Allowed,
    /// It stays.
    Never,
}

/// Why the known servers cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KnownServersError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A line makes no sense. The file stays as it is.
    #[error("{}, line {line}: {reason}; correct the line, or remove it", EscapedPath(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A path has characters that the file cannot hold.
    #[error("the path of {} cannot be written in a line of text", EscapedPath(.0))]
    Unwritable(PathBuf),
    /// There is no place for the file.
    #[error("there is no folder to remember servers in")]
    Nowhere,
}

impl KnownServers {
    /// Those in the file at `path`, which need not exist yet; `None` remembers nothing.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// Where the file is.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What a server must prove. Blocks.
    pub fn look_up(&self, place: &Place) -> Result<Option<Way>, KnownServersError> {
        let all = self.list()?;
        Ok(all.into_iter().find(|(known, _)| known == place).map(|(_, way)| way))
    }

    /// All servers, as they stand in the file. Blocks.
    pub fn list(&self) -> Result<Vec<(Place, Way)>, KnownServersError> {
        let Some(path) = &self.path else { return Ok(Vec::new()) };
        Ok(read(path)?.into_iter().filter_map(|line| line.entry).collect())
    }

    /// Forgets a server, and tells what was known of it. Blocks.
    pub fn forget(&self, place: &Place) -> Result<Option<Way>, KnownServersError> {
        // Nothing is made where there is nothing to forget.
        if self.look_up(place)?.is_none() {
            return Ok(None);
        }
        self.change(|lines| {
            let index = position(lines, place)?;
            lines.remove(index).entry.map(|(_, way)| way)
        })
    }

    /// Remembers a server, and tells what was known of it before, which stays unless it may be overwritten. Blocks.
    pub(super) fn remember(
        &self,
        place: &Place,
        way: &Way,
        overwrite: Overwrite,
    ) -> Result<Option<Way>, KnownServersError> {
        let text = format!("{place} {way}");
        if parse(&text).is_none_or(|entry| entry != (place.clone(), way.clone())) {
            let Way::AuthoritiesIn(path) = way else { unreachable!("pins are plain text") };
            return Err(KnownServersError::Unwritable(path.clone()));
        }
        self.change(|lines| {
            let line = Line { text, entry: Some((place.clone(), way.clone())) };
            let Some(index) = position(lines, place) else {
                lines.push(line);
                return None;
            };
            let before = lines[index].entry.as_ref().map(|(_, way)| way.clone());
            if overwrite == Overwrite::Allowed {
                lines[index] = line;
            }
            before
        })
    }

    /// Changes the file, undisturbed by others and at once: it holds the old lines or the new ones at any time.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Line>) -> T) -> Result<T, KnownServersError> {
        let Some(path) = &self.path else { return Err(KnownServersError::Nowhere) };
        // Held until the end of this function.
        let file = PrivateFile::lock(path)?;
        let mut lines = read(path)?;
        let before = lines.clone();
        let outcome = change(&mut lines);
        if lines != before {
            let text: String = lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect();
            file.replace(text.as_bytes())?;
        }
        Ok(outcome)
    }
}

/// A line as it stands in the file, and what it says; comments say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    text: String,
    entry: Option<(Place, Way)>,
}

fn position(lines: &[Line], place: &Place) -> Option<usize> {
    lines.iter().position(|line| line.entry.as_ref().is_some_and(|(known, _)| known == place))
}

fn read(path: &Path) -> Result<Vec<Line>, KnownServersError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(vec![Line { text: TITLE.to_owned(), entry: None }]);
        }
        Err(source) => {
            return Err(PrivateFileError::new("read", path, source).into());
        }
    };
    let mut lines: Vec<Line> = Vec::new();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let malformed = |reason: &str| {
            let (path, reason) = (path.to_owned(), reason.to_owned());
            KnownServersError::Malformed { path, line: index + 1, reason }
        };
        let text = str::from_utf8(line).map_err(|_| malformed("is not UTF-8"))?.to_owned();
        if text.trim().is_empty() || text.starts_with('#') {
            lines.push(Line { text, entry: None });
            continue;
        }
        let Some(entry) = parse(&text) else {
            return Err(malformed("is not HOST:PORT and what the server must prove"));
        };
        if position(&lines, &entry.0).is_some() {
            return Err(malformed("is about a server that has a line already"));
        }
        lines.push(Line { text, entry: Some(entry) });
    }
    Ok(lines)
}

fn parse(text: &str) -> Option<(Place, Way)> {
    let (place, way) = text.split_once(' ').filter(|_| !text.contains('\n'))?;
    Some((place.parse().ok()?, way.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PIN: &str = "pin sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn way(text: &str) -> Way {
        text.parse().unwrap()
    }

    /// Known servers in a folder of their own.
    fn servers(text: Option<&str>) -> (tempfile::TempDir, KnownServers, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/known-servers");
        if let Some(text) = text {
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        (folder, KnownServers::new(Some(path.clone())), path)
    }

    #[test]
    fn what_is_remembered_is_found_whatever_the_spelling() {
        let (_folder, servers, path) = servers(None);
        for (at, by) in [("a.example:1", PIN), ("[::1]:1", "ca system"), ("b:2", "ca /a b/ca.pem")]
        {
            assert_eq!(servers.look_up(&place(at)).unwrap(), None);
            let before = servers.remember(&place(at), &way(by), Overwrite::Never).unwrap();
            assert_eq!(before, None);
        }
        assert_eq!(servers.look_up(&place("A.Example.:1")).unwrap(), Some(way(PIN)));
        assert_eq!(servers.look_up(&place("[0::1]:1")).unwrap(), Some(Way::SystemAuthorities));
        let authorities = Way::AuthoritiesIn("/a b/ca.pem".into());
        assert_eq!(servers.look_up(&place("b:2")).unwrap(), Some(authorities));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            format!("{TITLE}\na.example:1 {PIN}\n[::1]:1 ca system\nb:2 ca /a b/ca.pem\n")
        );
    }

    #[test]
    fn nothing_is_replaced_unless_allowed_and_comments_stay() {
        let text = format!("# mine\n\nA:1 {PIN}\n# more\nb:2 ca system\n");
        let (_folder, servers, path) = servers(Some(&text));
        let other = Way::SystemAuthorities;
        for overwrite in [Overwrite::Never, Overwrite::Allowed] {
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            let before = servers.remember(&place("a:1"), &other, overwrite).unwrap();
            assert_eq!(before, Some(way(PIN)));
        }
        let changed = "# mine\n\na:1 ca system\n# more\nb:2 ca system\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), changed);
        assert_eq!(servers.forget(&place("a:1")).unwrap(), Some(other));
        assert_eq!(servers.forget(&place("a:1")).unwrap(), None);
        let rest = "# mine\n\n# more\nb:2 ca system\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), rest);
    }

    #[test]
    fn a_malformed_line_is_named_and_the_file_stays() {
        for bad in ["nonsense", "a:1 pin sha256:12", "a:1 ca ca.pem", "a:1", "b ca system"] {
            let text = format!("# title\nc:3 ca system\n{bad}\n");
            let (_folder, servers, path) = servers(Some(&text));
            for error in [
                servers.look_up(&place("c:3")).unwrap_err(),
                servers.forget(&place("c:3")).unwrap_err(),
                servers.remember(&place("d:4"), &way(PIN), Overwrite::Allowed).unwrap_err(),
            ] {
                let error = error.to_string();
                let named = format!("{}, line 3", EscapedPath(&path));
                assert!(error.contains(&named), "{error}");
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let (_folder, servers, _) = servers(Some("A:1 ca system\na.:1 ca system\n"));
        assert!(servers.list().unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn twenty_at_once_lose_no_entry() {
        let (_folder, servers, path) = servers(None);
        std::thread::scope(|scope| {
            for port in 1..=20 {
                let (servers, at) = (&servers, place(&format!("a:{port}")));
                scope.spawn(move || servers.remember(&at, &way(PIN), Overwrite::Never).unwrap());
            }
        });
        assert_eq!(servers.list().unwrap().len(), 20);
        let mut names: Vec<_> = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["known-servers", "known-servers.lock"]);
    }

    #[test]
    fn a_path_that_is_no_line_of_text_is_not_remembered() {
        let (_folder, servers, path) = servers(None);
        let odd = Way::AuthoritiesIn("/a\nb".into());
        let error = servers.remember(&place("a:1"), &odd, Overwrite::Never).unwrap_err();
        assert!(matches!(error, KnownServersError::Unwritable(_)), "{error}");
        assert!(!path.exists());
    }
}
