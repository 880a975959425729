//! A Rust file as a flat list of tokens with their lines: comments and strings cannot be mistaken for
//! code, and the insides of macros are seen, which a syntax tree does not show.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A word, a literal, a punctuation mark or a bracket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Counted from 1.
    pub(super) line: usize,
}

/// A file's tokens, those that ship and those that only tests see.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub(super) shipped: Vec<Token>,
    /// From items marked `#[cfg(test)]`.
    pub(super) tests: Vec<Token>,
}

impl Tokens {
    /// The tokens of a file that is known to parse.
    pub(super) fn of(text: &str) -> Self {
        let stream: TokenStream = text.parse().unwrap_or_default();
        let mut tokens = Self::default();
        tokens.split(stream);
        tokens
    }

    /// Sorts a stream's tokens, down through every brace that is not a test's.
    fn split(&mut self, stream: TokenStream) {
        let mut in_tests = false;
        for tree in stream {
            let ends_item = match &tree {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                TokenTree::Punct(mark) => mark.as_char() == ';',
                _ => false,
            };
            match tree {
                TokenTree::Group(group) if is_test_condition(&group) => in_tests = true,
                TokenTree::Group(group) if !in_tests => {
                    let (open, close) = brackets(&group);
                    self.shipped.extend(open);
                    self.split(group.stream());
                    self.shipped.extend(close);
                }
                other if in_tests => flatten(other, &mut self.tests),
                other => flatten(other, &mut self.shipped),
            }
            in_tests &= !ends_item;
        }
    }
}

/// The lines at which `pattern` begins in `tokens`.
pub(super) fn lines_with<'a>(
    tokens: &'a [Token],
    pattern: &'a [&str],
) -> impl Iterator<Item = usize> + 'a {
    tokens
        .windows(pattern.len())
        .filter(move |window| window.iter().zip(pattern).all(|(token, text)| token.text == *text))
        .map(|window| window[0].line)
}

/// Whether this is the bracket of `#[cfg(test)]` or of a condition that asks for more besides.
fn is_test_condition(group: &Group) -> bool {
    let text = group.stream().to_string().replace(' ', "");
    group.delimiter() == Delimiter::Bracket
        && (text == "cfg(test)" || text.starts_with("cfg(all(test,"))
}

fn flatten(tree: TokenTree, into: &mut Vec<Token>) {
    let line = tree.span().start().line;
    match tree {
        TokenTree::Group(group) => {
            let (open, close) = brackets(&group);
            into.extend(open);
            for inner in group.stream() {
                flatten(inner, into);
            }
            into.extend(close);
        }
        other => into.push(Token { text: other.to_string(), line }),
    }
}

fn brackets(group: &Group) -> (Option<Token>, Option<Token>) {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => return (None, None),
    };
    let token = |text: &str, line| Some(Token { text: text.into(), line });
    let opens = group.span_open().start().line;
    let closes = group.span_close().start().line;
    (token(open, opens), token(close, closes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &[&str] = &["Instant", ":", ":", "now", "("];

    #[test]
    fn code_is_found_also_in_macros_and_not_in_comments_or_strings() {
        let text = "// Instant::now()\nfn f() {\n  let s = \"Instant::now()\";\n  vec![Instant::now()];\n}\n";
        let tokens = Tokens::of(text);
        assert_eq!(lines_with(&tokens.shipped, NOW).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn what_only_tests_see_is_kept_apart() {
        let text = "mod a { #[cfg(test)]\nuse b;\nfn c() { Instant::now() }\n#[cfg(test)]\nmod tests { Instant::now() }\nstatic D: u8; }\n";
        let tokens = Tokens::of(text);
        assert_eq!(lines_with(&tokens.shipped, NOW).collect::<Vec<_>>(), [3]);
        assert_eq!(lines_with(&tokens.tests, NOW).collect::<Vec<_>>(), [5]);
        assert_eq!(lines_with(&tokens.shipped, &["static", "D"]).count(), 1);
    }
}
