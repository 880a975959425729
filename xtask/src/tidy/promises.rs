//! Rules about the documents: links lead somewhere, and the tests a promise names exist.
//!
//! A promise names its tests after the word "Tests:" in the same paragraph, list entry or table cell, as
//! code; or, where the reader should not be bothered, in a comment: `<!-- tests: one_test, other_test -->`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::Violation;
use super::repository::{Repository, TextFile, normalised};
use super::tokens::{Token, Tokens};

/// The documents that make promises.
const PROMISING: &[&str] = &["README.md", "SECURITY.md", "PROTOCOL.md"];

/// Relative links and images in Markdown files lead to files of the repository.
pub(super) fn links_resolve(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in repository.files().filter(|file| file.has_extension("md")) {
        for (event, range) in events(file) {
            let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event
            else {
                continue;
            };
            if !leads_somewhere(repository, file, &dest_url) {
                let message = format!("the link to `{dest_url}` leads nowhere");
                violations.push(file.violation(line_at(file, range), message));
            }
        }
    }
    violations
}

fn leads_somewhere(repository: &Repository, file: &TextFile, url: &str) -> bool {
    let path = url.split(['#', '?']).next().unwrap_or_default();
    let is_elsewhere = url.contains("://") || url.starts_with("mailto:");
    is_elsewhere || path.is_empty() || repository.holds(&normalised(&file.folder().join(path)))
}

/// Every test that a promise names is a test of the workspace.
pub(super) fn promised_tests_exist(repository: &Repository) -> Vec<Violation> {
    let tests: BTreeSet<_> =
        repository.rust().flat_map(|(_, rust)| test_names(&rust.tokens)).collect();
    let mut violations = Vec::new();
    for file in PROMISING.iter().filter_map(|name| repository.file(Path::new(name))) {
        for (name, line) in promised(file) {
            let function = name.rsplit("::").next().unwrap_or_default();
            if !tests.contains(function) {
                violations.push(file.violation(line, format!("there is no test `{name}`")));
            }
        }
    }
    violations
}

/// The tests a document names, with their lines.
fn promised(file: &TextFile) -> Vec<(String, usize)> {
    let mut names = Vec::new();
    let mut naming = false;
    for (event, range) in events(file) {
        let line = line_at(file, range);
        match event {
            Event::Text(text) => naming |= after_marker(&text).is_some(),
            Event::Code(code) if naming && is_test_path(&code) => {
                names.push((code.into_string(), line));
            }
            Event::Html(comment) | Event::InlineHtml(comment) => {
                let listed = after_marker(&comment).unwrap_or_default();
                let words = listed.split([' ', ',', '\n']).filter(|word| is_test_path(word));
                names.extend(words.map(|word| (word.to_owned(), line)));
            }
            Event::End(
                TagEnd::Paragraph | TagEnd::Item | TagEnd::TableCell | TagEnd::Heading(_),
            ) => {
                naming = false;
            }
            _ => {}
        }
    }
    names
}

/// What follows "test:" or "tests:", in capitals or not.
fn after_marker(text: &str) -> Option<&str> {
    ["test:", "tests:", "Test:", "Tests:"]
        .iter()
        .find_map(|marker| text.split_once(marker))
        .map(|(_, rest)| rest)
}

/// Whether `text` can name a function, with its modules or without.
fn is_test_path(text: &str) -> bool {
    let is_word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.split("::").all(is_word)
}

/// The functions marked `#[test]`, `#[tokio::test]` and the like, also inside macros such as `proptest!`.
fn test_names(tokens: &Tokens) -> Vec<&str> {
    let mut names = Vec::new();
    for tokens in [&tokens.shipped, &tokens.tests] {
        let mut marked = false;
        for (index, token) in tokens.iter().enumerate() {
            match token.text.as_str() {
                "#" => marked |= is_test_attribute(&tokens[index..]),
                "fn" if marked => {
                    names.extend(tokens.get(index + 1).map(|name| name.text.as_str()));
                    marked = false;
                }
                _ => {}
            }
        }
    }
    names
}

/// Whether `tokens` open with an attribute whose path ends in `test`.
fn is_test_attribute(tokens: &[Token]) -> bool {
    let path = tokens.iter().skip(2).take_while(|token| !matches!(token.text.as_str(), "]" | "("));
    tokens.get(1).is_some_and(|token| token.text == "[")
        && path.last().is_some_and(|token| token.text == "test")
}

fn events(file: &TextFile) -> impl Iterator<Item = (Event<'_>, Range<usize>)> {
    Parser::new_ext(&file.text, Options::ENABLE_TABLES).into_offset_iter()
}

fn line_at(file: &TextFile, range: Range<usize>) -> usize {
    file.text[..range.start].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(violations: Vec<Violation>) -> Vec<usize> {
        violations.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let text = "[a](a.md) [b](gone.md)\n[c](../up.md#part) [d](#here) [e](https://example.com/x)\n\
                    `[f](not-a-link.md)`\n![g](gone.png)\n[folder](../docs)\n";
        let repository = Repository::of(&[("docs/a.md", text), ("up.md", "")]);
        assert_eq!(lines(links_resolve(&repository)), [1, 4]);
    }

    #[test]
    fn a_promised_test_that_does_not_exist_is_found() {
        let code = "#[cfg(test)]\nmod tests {\n#[test]\nfn plain() {}\nfn helper() {}\n\
                    #[tokio::test(flavor = \"multi_thread\")]\n#[ignore]\nasync fn tokio_one() {}\n\
                    proptest! { #[test] fn generated(a in b) {} } }\n";
        let readme = "Uses `anything`. Tests: `plain`, `tests::tokio_one`,\n`generated`, `gone`.\n\n\
                      Calls `other` and `helper`.\n\n\
                      | promise | by |\n|---|---|\n| a | test: `plain` |\n| b | test: `helper` |\n\n\
                      <!-- tests: plain, missing -->\n";
        let repository = Repository::of(&[("src/lib.rs", code), ("README.md", readme)]);
        assert_eq!(lines(promised_tests_exist(&repository)), [2, 9, 11]);
    }
}
