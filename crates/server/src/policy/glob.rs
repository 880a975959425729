//! Patterns of paths. `*` and `?` match within a component, `**` in a component's place across several; `[a-z]`, `[!a]`,
//! `{one,other}` and a backslash are as in shells. What is matched are characters, not bytes: `?` is a whole é.

use std::ops::RangeInclusive;

/// Patterns that braces make of one, at most.
const ALTERNATIVES_MAX: usize = 1_024;

/// A pattern without braces, component by component.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    /// What stands before the first `**`.
    first: Vec<Vec<Token>>,
    /// From there on.
    rest: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    /// Any number of components, also none.
    Across,
    Component(Vec<Token>),
}

#[derive(Clone, Debug)]
enum Token {
    /// Any number of characters, also none.
    Star,
    Any,
    Literal(char),
    Set {
        is_negated: bool,
        ranges: Vec<RangeInclusive<char>>,
    },
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GlobError {
    #[error("a `[` has no `]` in the same component")]
    OpenSet,
    #[error("a range of characters goes backwards")]
    BackwardRange,
    #[error("a `{{` has no `}}`, or the other way round")]
    OpenBraces,
    #[error("its braces make more than {ALTERNATIVES_MAX} patterns")]
    TooManyAlternatives,
    #[error("there is nothing behind the last backslash")]
    TrailingBackslash,
    #[error("a component is empty, `.` or `..`")]
    NeverMatches,
}

impl Glob {
    /// All patterns that a text stands for.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>, GlobError> {
        let mut globs = Vec::new();
        let mut unexpanded = vec![text.to_owned()];
        while let Some(text) = unexpanded.pop() {
            match expand_first_braces(&text)? {
                Some(alternatives) => unexpanded.extend(alternatives),
                None => globs.push(Self::parse(&text)?),
            }
            if unexpanded.len() + globs.len() > ALTERNATIVES_MAX {
                return Err(GlobError::TooManyAlternatives);
            }
        }
        Ok(globs)
    }

    fn parse(text: &str) -> Result<Self, GlobError> {
        let mut glob = Self { first: Vec::new(), rest: Vec::new() };
        for component in text.split('/') {
            match component {
                "" | "." | ".." => return Err(GlobError::NeverMatches),
                "**" => glob.rest.push(Part::Across),
                other if glob.rest.is_empty() => glob.first.push(Token::parse_all(other)?),
                other => glob.rest.push(Part::Component(Token::parse_all(other)?)),
            }
        }
        Ok(glob)
    }

    /// Whether it matches a path, or one above it.
    pub(super) fn covers(&self, path: &str) -> bool {
        let mut components = path.split('/');
        let mut is_next = |tokens| components.next().is_some_and(|next| matches(tokens, next));
        if !self.first.iter().all(|tokens| is_next(tokens)) {
            return false;
        }
        self.rest.is_empty() || self.rest_covers(&components.collect::<Vec<_>>())
    }

    fn rest_covers(&self, components: &[&str]) -> bool {
        // How many components what was looked at of the pattern can have matched.
        let mut matched = vec![false; components.len() + 1];
        matched[0] = true;
        for part in &self.rest {
            let mut next = vec![false; matched.len()];
            match part {
                Part::Across => {
                    if let Some(least) = matched.iter().position(|&can| can) {
                        next[least..].fill(true);
                    }
                }
                Part::Component(tokens) => {
                    for (place, component) in components.iter().enumerate() {
                        next[place + 1] = matched[place] && matches(tokens, component);
                    }
                }
            }
            matched = next;
        }
        matched.contains(&true)
    }
}

impl Token {
    fn parse_all(component: &str) -> Result<Vec<Self>, GlobError> {
        let (mut tokens, mut rest) = (Vec::new(), component);
        while let Some(first) = rest.chars().next() {
            let length = unit_bytes(rest)?;
            tokens.push(match first {
                '*' => Self::Star,
                '?' => Self::Any,
                '[' => Self::parse_set(&rest[1..length - 1])?,
                '\\' => Self::Literal(rest[1..].chars().next().unwrap_or(first)),
                literal => Self::Literal(literal),
            });
            rest = &rest[length..];
        }
        Ok(tokens)
    }

    /// What stands between brackets.
    fn parse_set(text: &str) -> Result<Self, GlobError> {
        let listed = text.strip_prefix(['!', '^']);
        let mut characters = listed.unwrap_or(text).chars().peekable();
        let mut ranges = Vec::new();
        while let Some(first) = characters.next() {
            let mut ahead = characters.clone();
            let last = (ahead.next() == Some('-')).then(|| ahead.next()).flatten();
            if last.is_some() {
                characters = ahead;
            }
            let range = first..=last.unwrap_or(first);
            if range.is_empty() {
                return Err(GlobError::BackwardRange);
            }
            ranges.push(range);
        }
        Ok(Self::Set { is_negated: listed.is_some(), ranges })
    }

    fn is(&self, character: char) -> bool {
        match self {
            Self::Star | Self::Any => true,
            Self::Literal(literal) => *literal == character,
            Self::Set { is_negated, ranges } => {
                ranges.iter().any(|range| range.contains(&character)) != *is_negated
            }
        }
    }
}

/// Bytes of the first thing in a text that is not empty: a character, one with a backslash before it, or a set.
fn unit_bytes(text: &str) -> Result<usize, GlobError> {
    let mut characters = text.char_indices().peekable();
    match characters.next() {
        Some((_, '\\')) => {
            let (start, escaped) = characters.next().ok_or(GlobError::TrailingBackslash)?;
            Ok(start + escaped.len_utf8())
        }
        Some((_, '[')) => {
            characters.next_if(|(_, negation)| ['!', '^'].contains(negation));
            // A bracket that comes first is one of the set.
            characters.next_if(|(_, bracket)| *bracket == ']');
            let end = characters.find(|(_, character)| [']', '/'].contains(character));
            end.filter(|(_, end)| *end == ']').map(|(place, _)| place + 1).ok_or(GlobError::OpenSet)
        }
        first => Ok(first.map_or(0, |(_, character)| character.len_utf8())),
    }
}

/// What a text stands for with each of the alternatives in its first braces; `None` where it has none.
fn expand_first_braces(text: &str) -> Result<Option<Vec<String>>, GlobError> {
    let (mut place, mut depth, mut bounds) = (0, 0_usize, Vec::new());
    while let Some(first) = text[place..].chars().next() {
        match (first, depth) {
            ('{', _) => {
                depth += 1;
                if depth == 1 {
                    bounds.push(place);
                }
            }
            (',', 1) => bounds.push(place),
            ('}', 0) => return Err(GlobError::OpenBraces),
            ('}', 1) => {
                bounds.push(place);
                let (before, after) = (&text[..bounds[0]], &text[place + 1..]);
                let inside = bounds.windows(2).map(|pair| &text[pair[0] + 1..pair[1]]);
                return Ok(Some(inside.map(|one| [before, one, after].concat()).collect()));
            }
            ('}', _) => depth -= 1,
            _ => {}
        }
        place += unit_bytes(&text[place..])?;
    }
    if depth == 0 { Ok(None) } else { Err(GlobError::OpenBraces) }
}

/// Whether tokens match a whole component. Where a star took too little, only the last one need take more.
fn matches(tokens: &[Token], component: &str) -> bool {
    let (mut at, mut rest) = (0, component.chars());
    let mut behind_star = None;
    loop {
        match tokens.get(at) {
            Some(Token::Star) => {
                at += 1;
                behind_star = Some((at, rest.clone()));
                continue;
            }
            Some(token) => {
                let mut next = rest.clone();
                if next.next().is_some_and(|character| token.is(character)) {
                    (at, rest) = (at + 1, next);
                    continue;
                }
            }
            None if rest.as_str().is_empty() => return true,
            None => {}
        }
        let Some((behind, taken)) = &mut behind_star else { return false };
        if taken.next().is_none() {
            return false;
        }
        (at, rest) = (*behind, taken.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        let globs = Glob::parse_all(pattern).unwrap();
        globs.iter().any(|glob| glob.covers(path))
    }

    #[test]
    fn a_question_mark_and_a_set_are_about_whole_characters() {
        for pattern in ["1?", "1[é]", "1[à-ü]", "1[!e]", "??"] {
            assert!(covers(pattern, "1é"), "{pattern}");
        }
        for pattern in ["1??", "1[e]", "1[a-z]", "1[!é]", "?"] {
            assert!(!covers(pattern, "1é"), "{pattern}");
        }
        assert!(covers("?", "写") && covers("?", "\u{1f980}") && !covers("?", "e\u{301}"));
    }

    #[test]
    fn stars_braces_sets_and_backslashes_are_as_in_shells() {
        for (pattern, inside, outside) in [
            ("a*b*c", &["abc", "axbxbc", "abcbc"][..], &["ab", "abcd", "acb"][..]),
            ("*.tar.*", &["x.tar.gz", ".tar.", "a.tar.b.tar.c"], &["x.tar", "tar.gz"]),
            ("{a,b/c}/x", &["a/x", "b/c/x"], &["b/x", "c/x"]),
            ("{a,b{c,d}}e", &["ae", "bce", "bde"], &["be", "ace"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[]x]", &["]", "x"], &["[", "a"]),
            ("[!]x]", &["a"], &["]", "x"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[{,]", &["{", ","], &["[", "}"]),
            (r"\*\{\\", &[r"*{\"], &["a{"]),
            ("a**b", &["ab", "axb"], &["a/b"]),
            ("**/b/**/d", &["b/d", "a/b/c/c/d/e"], &["b", "d", "a/d"]),
        ] {
            assert!(inside.iter().all(|path| covers(pattern, path)), "{pattern}");
            assert!(!outside.iter().any(|path| covers(pattern, path)), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_why() {
        for (text, reason) in [
            ("[a", GlobError::OpenSet),
            ("[a/b]", GlobError::OpenSet),
            ("[b-a]", GlobError::BackwardRange),
            ("{a", GlobError::OpenBraces),
            ("a}", GlobError::OpenBraces),
            (r"a\", GlobError::TrailingBackslash),
            ("{a,}/b", GlobError::NeverMatches),
            (&"{a,b}".repeat(11), GlobError::TooManyAlternatives),
        ] {
            assert_eq!(Glob::parse_all(text).unwrap_err(), reason, "{text}");
        }
    }

    #[test]
    fn no_pattern_takes_long_for_no_path() {
        let (pattern, path) = (["*a"; 200].concat() + "b", "a".repeat(255));
        assert!(!covers(&pattern, &path));
        let (pattern, path) = (["**/a"; 100].join("/") + "/b", ["a"; 250].join("/"));
        assert!(!covers(&pattern, &path));
    }
}
