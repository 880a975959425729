//! Patterns of paths: lines of a .gitignore file, and braces as shells have them. What is matched are bytes: an é is two.
//!
//! A pattern becomes a program, and all positions that a path may have led to are followed at once, byte by byte. That
//! takes at most 12 bytes for each byte of the pattern, keeps nothing from path to path, and goes no more often through
//! the program than the path has bytes.

/// A pattern, ready to be matched.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    is_for_folders: bool,
    /// Whether it is about the last component alone.
    is_for_names: bool,
    program: Program,
}

/// Matches what leads from the first position, byte by byte, to the one behind the last token.
#[derive(Clone, Debug, Default)]
struct Program {
    tokens: Vec<Token>,
    sets: Vec<Set>,
    /// What all ends with that it matches: most names are told apart by that.
    ending: Vec<u8>,
}

/// What leads on from a position: to the next one, where nothing else is said, and never back.
#[derive(Clone, Copy, Debug)]
enum Token {
    Literal(u8),
    /// Any byte but a slash.
    Any,
    /// One of the set with this number.
    OneOf(u16),
    /// Any number of bytes but slashes, also none.
    Star,
    /// Any number of bytes, of which the last is a slash.
    Across,
    /// No byte; this position is reached as well as the next one.
    Also(u16),
    /// No byte; this position is reached, and the next one is not.
    Jump(u16),
}

/// Bytes, of which none is a slash.
#[derive(Clone, Copy, Debug, Default)]
struct Set([u64; 4]);

/// Positions in a program.
#[derive(Clone, Debug)]
struct Positions(Vec<u64>);

/// Writes a program.
#[derive(Default)]
struct Parser {
    program: Program,
    /// For each open brace, where its alternatives begin. All but the last have something in them.
    braces: Vec<Vec<usize>>,
    /// The position behind the last one that was closed.
    behind_braces: usize,
}

impl Pattern {
    /// Understands a line that is neither empty nor a comment; otherwise tells what is wrong with it.
    pub(super) fn parse(line: &str) -> Result<Self, &'static str> {
        let line = if line.ends_with("\\ ") { line } else { line.trim_end() };
        let rooted = line.strip_prefix('/');
        let path = rooted.unwrap_or(line);
        let folder = path.strip_suffix("\\/").or_else(|| path.strip_suffix('/'));
        let path = folder.unwrap_or(path);
        Ok(Self {
            is_for_folders: folder.is_some(),
            is_for_names: rooted.is_none() && !path.contains('/'),
            program: Parser::default().parse(path.as_bytes())?,
        })
    }

    /// Whether it is about folders alone.
    pub(super) fn is_for_folders(&self) -> bool {
        self.is_for_folders
    }

    /// Whether it matches a path; where it is about folders, that of one.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        if !path.ends_with(&self.program.ending) {
            return false;
        }
        let slash = path.iter().rposition(|&byte| byte == b'/').filter(|_| self.is_for_names);
        self.program.matches(&path[slash.map_or(0, |slash| slash + 1)..])
    }
}

impl Parser {
    fn parse(mut self, text: &[u8]) -> Result<Program, &'static str> {
        let mut rest = text;
        while let [first, after @ ..] = rest {
            let before = &text[..text.len() - rest.len()];
            rest = after;
            match *first {
                b'*' => rest = self.parse_stars(before, after)?,
                b'?' => self.push(Token::Any),
                b'[' => rest = self.parse_set(after)?,
                b'{' => {
                    self.braces.push(Vec::new());
                    self.begin_alternative()?;
                }
                b',' if !self.braces.is_empty() => {
                    if !self.is_at_start() {
                        self.push(Token::Jump(0));
                        self.begin_alternative()?;
                    }
                }
                b'}' => self.end_alternatives()?,
                b'\\' => {
                    let behind = after.split_first();
                    let (escaped, behind) = behind.ok_or("nothing is behind its last backslash")?;
                    self.push(Token::Literal(*escaped));
                    rest = behind;
                }
                literal => self.push(Token::Literal(literal)),
            }
        }
        if self.braces.is_empty() { Ok(self.finish()) } else { Err("a `{` has no `}`") }
    }

    fn finish(self) -> Program {
        let Self { mut program, behind_braces, .. } = self;
        let literal = |token: &Token| match token {
            Token::Literal(literal) => Some(*literal),
            _ => None,
        };
        program.ending = program.tokens[behind_braces..].iter().rev().map_while(literal).collect();
        program.ending.reverse();
        program.tokens.shrink_to_fit();
        program.sets.shrink_to_fit();
        program
    }

    fn push(&mut self, token: Token) {
        self.program.tokens.push(token);
    }

    /// The position of the next token.
    fn position(&self) -> usize {
        self.program.tokens.len()
    }

    /// Whether there is nothing yet of the pattern, or of the alternative at hand.
    fn is_at_start(&self) -> bool {
        let start = self.braces.last().and_then(|starts| starts.last());
        self.position() == start.map_or(0, |start| start + 1)
    }

    /// Parses stars, of which one was read. Two in a component's place are about any number of components.
    fn parse_stars<'a>(
        &mut self,
        before: &[u8],
        after: &'a [u8],
    ) -> Result<&'a [u8], &'static str> {
        let more = after.iter().take_while(|&&byte| byte == b'*').count();
        let behind = &after[more..];
        let is_behind_slash = before.ends_with(b"/");
        let begins_component = is_behind_slash || self.is_at_start();
        let is_last = match behind {
            [] => true,
            [b',' | b'}', ..] => is_behind_slash && !self.braces.is_empty(),
            _ => false,
        };
        let slash = behind.strip_prefix(b"/");
        let is_across = more == 1 && begins_component && (is_last || slash.is_some());
        if is_across {
            let next = index(self.position() + 2)?;
            self.program.tokens.extend([Token::Also(next), Token::Across]);
        }
        match slash {
            Some(rest) if is_across => Ok(rest),
            _ => {
                self.push(Token::Star);
                Ok(behind)
            }
        }
    }

    /// Parses a set, of which the bracket was read. Without an end, that is a character as others are.
    fn parse_set<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let listed = text.strip_prefix(b"!").or_else(|| text.strip_prefix(b"^"));
        let (is_negated, listed) = (listed.is_some(), listed.unwrap_or(text));
        // A bracket that comes first is one of the set.
        let Some(end) = (1..listed.len()).find(|&end| listed[end] == b']') else {
            self.push(Token::Literal(b'['));
            return Ok(text);
        };
        let (mut left, mut ranges) = (&listed[..end], Vec::new());
        while let [first, behind @ ..] = left {
            let (last, behind) = match behind {
                [b'-', last, behind @ ..] => (last, behind),
                _ => (first, behind),
            };
            if first > last {
                return Err("a range of characters goes backwards");
            }
            ranges.push(*first..=*last);
            left = behind;
        }
        let is_listed = |byte| ranges.iter().any(|range| range.contains(&byte));
        let number = index(self.program.sets.len())?;
        self.program.sets.push(Set::of(|byte| byte != b'/' && is_listed(byte) != is_negated));
        self.push(Token::OneOf(number));
        Ok(&listed[end + 1..])
    }

    fn begin_alternative(&mut self) -> Result<(), &'static str> {
        let start = self.position();
        self.braces.last_mut().expect("there is an open brace").push(start);
        // As long as there is no other one.
        self.push(Token::Also(index(start + 1)?));
        Ok(())
    }

    /// Ends those of the last open brace. Empty ones do not count.
    fn end_alternatives(&mut self) -> Result<(), &'static str> {
        let is_last_empty = self.is_at_start();
        let mut starts = self.braces.pop().ok_or("a `}` has no `{`")?;
        let tokens = &mut self.program.tokens;
        if is_last_empty {
            starts.pop();
            // With the jump that ended the one before.
            tokens.truncate(tokens.len() - if starts.is_empty() { 1 } else { 2 });
        }
        self.behind_braces = tokens.len();
        let end = index(tokens.len())?;
        for pair in starts.windows(2) {
            tokens[pair[0]] = Token::Also(index(pair[1])?);
            tokens[pair[1] - 1] = Token::Jump(end);
        }
        Ok(())
    }
}

/// A number in a token.
fn index(number: usize) -> Result<u16, &'static str> {
    u16::try_from(number).map_err(|_| "it is too long")
}

impl Program {
    /// Whether it matches all of a text.
    fn matches(&self, text: &[u8]) -> bool {
        let end = self.tokens.len();
        let mut here = Positions::none(end + 1);
        let mut next = here.clone();
        here.insert(0);
        self.spread(&mut here);
        for &byte in text {
            next.clear();
            self.advance(&here, byte, &mut next);
            if next.first_from(0).is_none() {
                return false;
            }
            self.spread(&mut next);
            std::mem::swap(&mut here, &mut next);
        }
        here.first_from(end).is_some()
    }

    /// Adds what is reached by no byte.
    fn spread(&self, here: &mut Positions) {
        let mut from = 0;
        while let Some(at) = here.first_from(from) {
            from = at + 1;
            match self.tokens.get(at) {
                Some(Token::Star) => here.insert(at + 1),
                Some(Token::Also(other)) => {
                    here.insert(at + 1);
                    here.insert(usize::from(*other));
                }
                Some(Token::Jump(other)) => here.insert(usize::from(*other)),
                _ => {}
            }
        }
    }

    /// Adds to `next` what a byte leads to.
    fn advance(&self, here: &Positions, byte: u8, next: &mut Positions) {
        let mut from = 0;
        while let Some(at) = here.first_from(from) {
            from = at + 1;
            let Some(token) = self.tokens.get(at) else { break };
            let (stays, goes_on) = match token {
                Token::Literal(literal) => (false, *literal == byte),
                Token::Any => (false, byte != b'/'),
                Token::OneOf(number) => (false, self.sets[usize::from(*number)].has(byte)),
                Token::Star => (byte != b'/', false),
                Token::Across => (true, byte == b'/'),
                Token::Also(_) | Token::Jump(_) => (false, false),
            };
            if stays {
                next.insert(at);
            }
            if goes_on {
                next.insert(at + 1);
            }
        }
    }
}

impl Set {
    fn of(is_member: impl Fn(u8) -> bool) -> Self {
        let mut words = [0; 4];
        for byte in (0..=u8::MAX).filter(|&byte| is_member(byte)) {
            words[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
        Self(words)
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }
}

impl Positions {
    /// None of so many.
    fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn insert(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }

    /// The first one of these that is at `from` or behind it.
    fn first_from(&self, from: usize) -> Option<usize> {
        let mut index = from / 64;
        let mut word = self.0.get(index)? & (u64::MAX << (from % 64));
        while word == 0 {
            index += 1;
            word = *self.0.get(index)?;
        }
        Some(index * 64 + word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use ignore::gitignore::GitignoreBuilder;

    use super::{Pattern, Set, Token};

    fn matches(line: &str, path: &str) -> bool {
        Pattern::parse(line).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn lines_match_what_they_do_in_a_gitignore_file() {
        for (line, inside, outside) in [
            ("a", &["a", "b/a", "b/c/a"][..], &["ab", "xa", "a/b"][..]),
            ("/a", &["a"], &["b/a", "a/a"]),
            ("a/b", &["a/b"], &["c/a/b", "a/b/c"]),
            ("*.gz", &["a.gz", ".gz", "b/a.tar.gz"], &["a.gz/b", "gz", "a.gzip"]),
            ("a*b*c", &["abc", "axbxc", "abcbc"], &["ab", "abcd", "acb", "ab/c"]),
            ("a?c", &["abc", "a.c"], &["ac", "a/c", "abbc", "aéc"]),
            ("a??c", &["aéc", "abbc"], &["abc"]),
            ("[a-c]x", &["ax", "cx", "d/bx"], &["dx", "x", "acx"]),
            ("[!a-c]x", &["dx"], &["ax", "x"]),
            ("a[!b]c", &["axc"], &["abc", "a/c"]),
            ("a[^b]c", &["axc"], &["abc", "a/c"]),
            ("a[.-1]c", &["a.c", "a0c"], &["a/c", "a2c"]),
            ("[]x]", &["]", "x"], &["[", "a"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[a-c-e]", &["b", "-", "e"], &["d"]),
            (r"[\]x", &[r"\x"], &["x", "]x"]),
            ("[a", &["[a"], &["a"]),
            ("**", &["a", "a/b"], &[]),
            ("**/a", &["a", "b/a", "b/c/a"], &["xa", "a/b"]),
            ("/**/a", &["a", "b/a"], &["xa"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b/a/c", "ab/c"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb", "b", "x/a/b"]),
            ("a/**/**/b", &["a/b", "a/x/b"], &["a/xb"]),
            ("/a**b", &["ab", "axb"], &["a/b", "x/ab"]),
            ("a/***", &["a/b"], &["a", "a/b/c"]),
            ("{a,b/c}/x", &["a/x", "b/c/x"], &["b/x", "c/x", "x"]),
            ("{a,b{c,d}}e", &["ae", "bce", "x/bde"], &["be", "ace", "e"]),
            ("*.{jp{,e}g,png}", &["a.jpeg", "a.png"], &["a.jpg", "a.jp", "a."]),
            ("a{,b,}c", &["abc"], &["ac"]),
            ("a{,{}}b{}", &["ab"], &["a", "b"]),
            ("{a,*}*.c", &["a.c", "b.c"], &["a", "b/c"]),
            ("x/{a/**,**/b}", &["x/a/c/d", "x/b", "x/c/b"], &["x/a", "x/c"]),
            ("a,b", &["a,b"], &["a", "b"]),
            (r"\*\{\\", &[r"*{\"], &["a{"]),
            ("a ", &["a"], &["a "]),
            (r"a\ ", &["a "], &["a"]),
            ("é", &["é", "a/é"], &["e"]),
        ] {
            assert!(inside.iter().all(|path| matches(line, path)), "{line}");
            assert!(!outside.iter().any(|path| matches(line, path)), "{line}");
        }
        for (line, is_for_folders) in [("a/", true), (r"/b/a\/", true), ("a/b", false)] {
            assert_eq!(Pattern::parse(line).unwrap().is_for_folders(), is_for_folders, "{line}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_why() {
        for (line, reason) in [
            ("[b-a]", "a range of characters goes backwards"),
            ("{a", "a `{` has no `}`"),
            ("a}", "a `}` has no `{`"),
            (r"a\", "nothing is behind its last backslash"),
            (&("x".repeat(1 << 16) + "{x}"), "it is too long"),
        ] {
            assert_eq!(Pattern::parse(line).err(), Some(reason), "{line:.9}");
        }
    }

    /// Numbers that look like chance, and are the same each time.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % sides as u64).unwrap()
        }

        fn text(&mut self, parts: &[&str], parts_max: usize) -> String {
            (0..=self.roll(parts_max)).map(|_| parts[self.roll(parts.len())]).collect()
        }
    }

    #[test]
    fn any_line_matches_what_others_who_read_them_match() {
        let parts = [
            "a", "a", "b", "b", "é", "/", "/a", "b/", "*", "**", "/**", "**/", "/**/", "?", "[ab]",
            "[a-c]", "[]a]", "{", "}", ",", "{a,", "b}", "{b,**/", r"\*", r"\\", " ", "-",
        ];
        let names = ["a", "b", "c", "ab", "é", "*", r"\", " ", ",", "-", "/a", "/b", "/ab"];
        let (mut dice, mut matches) = (Dice(1), 0);
        for _ in 0..2_000 {
            let line = dice.text(&parts, 8);
            // These they take for what nothing is called.
            if line.trim().is_empty() || line.contains("//") || line.contains("{**/**") {
                continue;
            }
            let mut theirs = GitignoreBuilder::new("");
            let ours = Pattern::parse(&line);
            assert_eq!(ours.is_ok(), theirs.add_line(None, &line).is_ok(), "{line}");
            let (Ok(ours), Ok(theirs)) = (ours, theirs.build()) else { continue };
            for path in (0..20).map(|_| dice.text(&names, 6)) {
                let path = path.trim_start_matches('/');
                let is_match = ours.matches(path.as_bytes());
                assert_eq!(is_match, theirs.matched(path, true).is_ignore(), "{line} {path}");
                let is_match_as_file = is_match && !ours.is_for_folders();
                let theirs = theirs.matched(path, false).is_ignore();
                assert_eq!(is_match_as_file, theirs, "{line} {path}");
                matches += usize::from(is_match);
            }
        }
        assert!(matches > 1_000, "{matches}");
    }

    #[test]
    fn no_pattern_takes_much_memory() {
        let parts = ["a", "?", "*", "[a]", "{a,b}*", "{a,b,c,d}", "{**/,?}", "**/", "{{{a}}}"];
        for part in parts {
            let line = part.repeat(1_024 / part.len());
            let Pattern { program, .. } = Pattern::parse(&line).unwrap();
            let bytes = program.tokens.capacity() * size_of::<Token>()
                + program.sets.capacity() * size_of::<Set>()
                + program.ending.capacity();
            assert!(bytes <= 12 * line.len(), "{part}: {bytes}");
        }
    }

    #[test]
    fn no_pattern_takes_long_for_no_path() {
        for (pattern, path) in [
            ("*a".repeat(200) + "[b]", "a".repeat(255)),
            ("**/a/".repeat(100) + "[b]", ["a"; 250].join("/")),
            ("{a,*}".repeat(200) + "[b]", "a".repeat(255)),
            ("*".to_owned() + &"{".repeat(500) + "a" + &"}".repeat(500), "b".repeat(255)),
        ] {
            assert!(!matches(&pattern, &path), "{pattern}");
        }
    }
}
