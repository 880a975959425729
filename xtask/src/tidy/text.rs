//! Rules about plain text, whatever the language.

use super::Violation;
use super::repository::{Repository, TextFile};

/// Written in two halves, so that this file passes its own rule.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "finish it, or leave it out"),
    (concat!("FIX", "ME"), "fix it, or leave it out"),
    (concat!("issue", " #"), "say what it is about: the number tells a reader nothing"),
    (concat!("index.", "crates.io"), "the project does not depend on a registry's host"),
    (concat!("static.", "crates.io"), "the project does not depend on a registry's host"),
    (concat!("py", "pi.org"), "the project does not depend on a registry's host"),
    (concat!("files.python", "hosted.org"), "the project does not depend on a registry's host"),
    (concat!("registry.", "npmjs.org"), "the project does not depend on a registry's host"),
    (concat!("deb.", "debian.org"), "the project does not depend on a registry's host"),
];

/// No tab, no white space at the end of a line, a line end after the last line.
pub(super) fn clean_lines(repository: &Repository) -> Vec<Violation> {
    repository.files().flat_map(unclean_lines).collect()
}

fn unclean_lines(file: &TextFile) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, line) in file.numbered_lines() {
        if line.ends_with([' ', '\t']) {
            violations.push(file.violation(number, "white space at the end of the line"));
        }
        if line.contains('\t') {
            violations.push(file.violation(number, "a tab; indent with spaces"));
        }
    }
    if file.text.contains("\r\n") {
        violations.push(file.violation(0, "line ends with carriage returns"));
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        violations
            .push(file.violation(file.text.lines().count(), "no line end after the last line"));
    }
    violations
}

/// Words that a finished, self-contained project does not hold.
pub(super) fn forbidden_words(repository: &Repository) -> Vec<Violation> {
    let written_here = repository.files().filter(|file| !is_lock(file));
    let mut violations = Vec::new();
    for file in written_here {
        for (number, line) in file.numbered_lines() {
            for (word, advice) in FORBIDDEN.iter().filter(|(word, _)| line.contains(word)) {
                violations.push(file.violation(number, format!("`{word}`: {advice}")));
            }
        }
    }
    violations
}

/// Lock files are written by tools, which name what they like.
fn is_lock(file: &TextFile) -> bool {
    file.has_extension("lock") || file.has_name("package-lock.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclean_text_is_found() {
        let repository = Repository::of(&[("a.txt", "fine\nspace \n\ttab\nno end")]);
        let lines: Vec<_> = clean_lines(&repository).into_iter().map(|v| v.line).collect();
        assert_eq!(lines, [2, 3, 4]);
        assert_eq!(clean_lines(&Repository::of(&[("a.txt", "one\r\ntwo\n")])).len(), 1);
        assert!(clean_lines(&Repository::of(&[("a.txt", ""), ("b.txt", "fine\n")])).is_empty());
    }

    #[test]
    fn forbidden_words_are_found_except_in_lock_files() {
        for (word, _) in FORBIDDEN {
            let text = format!("a line with {word} in it\n");
            let repository = Repository::of(&[("a.md", &text), ("Cargo.lock", &text)]);
            assert_eq!(forbidden_words(&repository).len(), 1, "{word}");
        }
    }
}
