//! Which paths belong to a listing (PROTOCOL.md, "Trees").

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use towline_proto::escape::Escaped;
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Rule, Verdict};

/// Rules, ready to be asked.
#[derive(Clone, Debug)]
pub struct Filter {
    rules: Gitignore,
    unmatched: Verdict,
    /// Where the paths are that it is asked about, with a slash behind; empty where they are complete.
    place: Vec<u8>,
}

/// A pattern that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{pattern}` makes no sense: {reason}")]
pub struct PatternError {
    /// The pattern, safe to print.
    pattern: String,
    reason: String,
}

impl Filter {
    /// Prepares rules, of which the last that matches decides. Whoever takes them from elsewhere has checked
    /// how many and how long they are.
    pub fn new(rules: &[Rule]) -> Result<Self, PatternError> {
        let mut builder = GitignoreBuilder::new("");
        for rule in rules {
            let refused = |reason: String| PatternError {
                pattern: Escaped(rule.pattern.as_bytes()).to_string(),
                reason: Escaped(reason.as_bytes()).to_string(),
            };
            let line = line_of(rule).map_err(|reason| refused(reason.into()))?;
            builder.add_line(None, &line).map_err(|error| refused(error.to_string()))?;
        }
        let rules_refused = |error: ignore::Error| PatternError {
            pattern: "all together".into(),
            reason: Escaped(error.to_string().as_bytes()).to_string(),
        };
        let unmatched = match rules.first() {
            Some(Rule { verdict: Verdict::Include, .. }) => Verdict::Exclude,
            _ => Verdict::Include,
        };
        Ok(Self { rules: builder.build().map_err(rules_refused)?, unmatched, place: Vec::new() })
    }

    /// The same rules, for paths that are told from this folder on.
    pub fn inside(&self, folder: &RemoteName) -> Self {
        let place = [&self.place[..], folder.as_bytes(), b"/"].concat();
        Self { place, ..self.clone() }
    }

    /// Whether the folder at `path` belongs to the listing, and is looked into.
    pub fn admits_folder(&self, path: &[u8]) -> bool {
        !self.rules.matched(OsStr::from_bytes(&self.whole(path)), true).is_ignore()
    }

    /// Whether whatever else is at `path` belongs to the listing.
    pub fn admits_file(&self, path: &[u8]) -> bool {
        match self.rules.matched(OsStr::from_bytes(&self.whole(path)), false) {
            Match::Ignore(_) => false,
            Match::Whitelist(_) => true,
            Match::None => self.unmatched == Verdict::Include,
        }
    }

    fn whole<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        if self.place.is_empty() {
            return path.into();
        }
        [&self.place[..], path].concat().into()
    }
}

/// The line of a .gitignore file that says what a rule does: what is excluded is what git ignores.
fn line_of(rule: &Rule) -> Result<String, &'static str> {
    let pattern = &rule.pattern;
    if pattern.trim().is_empty() {
        return Err("it is empty");
    }
    if pattern.starts_with('#') {
        return Err("it is a comment; `\\#` begins a name");
    }
    match rule.verdict {
        Verdict::Exclude if pattern.starts_with('!') => Err("`\\!` begins a name"),
        Verdict::Exclude => Ok(pattern.clone()),
        // Behind the `!` nothing is special but a slash.
        Verdict::Include => match pattern.strip_prefix('\\') {
            Some(name) if name.starts_with(['!', '#']) => Ok(format!("!{name}")),
            _ if pattern.starts_with('!') => Err("`\\!` begins a name"),
            _ => Ok(format!("!{pattern}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::native::message::tree::{Rule, Verdict};

    use super::Filter;

    fn rules(lines: &[&str]) -> Vec<Rule> {
        let rule = |line: &&str| match line.strip_prefix('+') {
            Some(pattern) => Rule { verdict: Verdict::Include, pattern: pattern.into() },
            None => Rule { verdict: Verdict::Exclude, pattern: line[1..].into() },
        };
        lines.iter().map(rule).collect()
    }

    fn admitted<'a>(lines: &[&str], files: &[&'a str]) -> Vec<&'a str> {
        let filter = Filter::new(&rules(lines)).unwrap();
        files.iter().copied().filter(|file| filter.admits_file(file.as_bytes())).collect()
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let files = ["a.gz", "b.txt", "sub/c.gz", "sub/d"];
        assert_eq!(admitted(&[], &files), files);
        assert_eq!(admitted(&["-*.gz"], &files), ["b.txt", "sub/d"]);
        assert_eq!(admitted(&["-*.gz", "+a.gz"], &files), ["a.gz", "b.txt", "sub/d"]);
        assert_eq!(admitted(&["-/*.gz"], &files), ["b.txt", "sub/c.gz", "sub/d"]);
        assert_eq!(admitted(&["-sub/**"], &files), ["a.gz", "b.txt"]);
    }

    #[test]
    fn where_the_first_rule_includes_only_folders_need_no_rule() {
        assert_eq!(
            admitted(&["+*.gz", "-a.*"], &["a.gz", "b.gz", "sub/c.gz", "d"]),
            ["b.gz", "sub/c.gz"]
        );
        let filter = Filter::new(&rules(&["+*.gz", "-tmp/"])).unwrap();
        assert!(filter.admits_folder(b"sub") && !filter.admits_folder(b"sub/tmp"));
        assert!(!filter.admits_file(b"tmp"));
    }

    #[test]
    fn special_beginnings_are_names_behind_a_backslash() {
        for beginning in ["\\!a", "\\#a"] {
            let file = &beginning[1..];
            assert_eq!(admitted(&[&format!("-{beginning}")], &[file, "b"]), ["b"]);
            assert_eq!(admitted(&[&format!("+{beginning}")], &[file, "b"]), [file]);
        }
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_named() {
        for pattern in ["a{b", "", "  ", "#x", "!x", "[z-a]"] {
            for sign in ["+", "-"] {
                let error = Filter::new(&rules(&[&format!("{sign}{pattern}")])).unwrap_err();
                assert!(error.to_string().contains(&format!("`{pattern}`")), "{error}");
            }
        }
    }

    #[test]
    fn names_need_not_be_text() {
        let filter = Filter::new(&rules(&["-*.gz"])).unwrap();
        assert!(!filter.admits_file(b"\xff.gz") && filter.admits_file(b"\xff"));
    }
}
