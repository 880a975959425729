//! Which paths belong to a listing (PROTOCOL.md, "Trees").

mod pattern;

use std::borrow::Cow;
use std::sync::Arc;

use towline_proto::escape::Escaped;
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Rule, Verdict};

use self::pattern::Pattern;

/// Rules, ready to be asked.
#[derive(Clone, Debug)]
pub struct Filter {
    rules: Arc<[(Pattern, Verdict)]>,
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
    reason: &'static str,
}

impl Filter {
    /// Prepares rules, of which the last that matches decides. Whoever takes them from elsewhere has checked
    /// how many and how long they are.
    pub fn new(rules: &[Rule]) -> Result<Self, PatternError> {
        let prepare = |Rule { verdict, pattern }: &Rule| match parse(pattern) {
            Ok(parsed) => Ok((parsed, *verdict)),
            Err(reason) => {
                Err(PatternError { pattern: Escaped(pattern.as_bytes()).to_string(), reason })
            }
        };
        let unmatched = match rules.first() {
            Some(Rule { verdict: Verdict::Include, .. }) => Verdict::Exclude,
            _ => Verdict::Include,
        };
        let rules = rules.iter().map(prepare).collect::<Result<_, _>>()?;
        Ok(Self { rules, unmatched, place: Vec::new() })
    }

    /// The same rules, for paths that are told from this folder on.
    pub fn inside(&self, folder: &RemoteName) -> Self {
        let place = [&self.place[..], folder.as_bytes(), b"/"].concat();
        Self { place, ..self.clone() }
    }

    /// Whether the folder at `path` belongs to the listing, and is looked into.
    pub fn admits_folder(&self, path: &[u8]) -> bool {
        self.verdict(path, |_| true) != Some(Verdict::Exclude)
    }

    /// Whether whatever else is at `path` belongs to the listing.
    pub fn admits_file(&self, path: &[u8]) -> bool {
        let verdict = self.verdict(path, |pattern| !pattern.is_for_folders());
        verdict.unwrap_or(self.unmatched) == Verdict::Include
    }

    /// What the last rule says that matches, of those that count.
    fn verdict(&self, path: &[u8], counts: impl Fn(&Pattern) -> bool) -> Option<Verdict> {
        let path = self.whole(path);
        let matches = |pattern: &Pattern| counts(pattern) && pattern.matches(&path);
        self.rules.iter().rev().find(|(pattern, _)| matches(pattern)).map(|(_, verdict)| *verdict)
    }

    fn whole<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        if self.place.is_empty() {
            return path.into();
        }
        [&self.place[..], path].concat().into()
    }
}

fn parse(pattern: &str) -> Result<Pattern, &'static str> {
    match pattern.chars().next() {
        _ if pattern.trim().is_empty() => Err("it is empty"),
        Some('#') => Err("it is a comment; `\\#` begins a name"),
        Some('!') => Err("`\\!` begins a name"),
        _ => Pattern::parse(pattern),
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

    #[test]
    fn rules_that_lead_everywhere_take_little_time_for_many_names() {
        let pattern = format!("*[a-m0-4]{}.jpg", "?".repeat(50));
        let filter = Filter::new(&vec![Rule { verdict: Verdict::Exclude, pattern }; 256]).unwrap();
        for number in 0..4_000_u32 {
            let extension = if number % 40 == 0 { "jpg" } else { "png" };
            let digits = format!("{:010}", number.wrapping_mul(2_654_435_761)).repeat(7);
            let name = format!("{digits}.{extension}");
            let is_excluded = extension == "jpg" && name.as_bytes()[19] <= b'4';
            assert_eq!(filter.admits_file(name.as_bytes()), !is_excluded, "{name}");
        }
    }
}
