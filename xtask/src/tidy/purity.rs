//! Rules about what code may reach for: clocks, naps, and the compiler's blind eye.

use super::Violation;
use super::repository::{Repository, Rust, TextFile};
use super::tokens::{Token, lines_with};

/// Files and folders whose code is given the time and never asks for it, so that a test can run through
/// hours in a moment. Their tests may make up an instant to start from.
const PURE: &[&str] = &[
    "crates/proto/src",
    "crates/net/src/throttle.rs",
    "crates/server/src/auth/penalty.rs",
    "crates/server/src/policy",
    "crates/server/src/rates/fair.rs",
    "crates/client/src/retry.rs",
    "crates/client/src/plan",
    "crates/client/src/plan.rs",
    "crates/client/src/journal.rs",
    "crates/client/src/known_hashes.rs",
    "crates/cli/src/progress/line.rs",
    "crates/cli/src/progress/state.rs",
];

const CLOCKS: &[&[&str]] = &[
    &["Instant", ":", ":", "now"],
    &["SystemTime", ":", ":", "now"],
    &["sleep", "("],
    &["sleep_until", "("],
];

const SLEEPS: &[&[&str]] = &[&["sleep", "("], &["sleep_until", "("]];

/// The one place that may ask the kernel for what no safe wrapper offers.
const UNSAFE_HOME: &str = "crates/net/src/socket/tcp_info.rs";

/// Opens a comment, in the line or above it, that says why a rule does not hold there.
const EXCUSE: &str = "// tidy: allow";

/// Planners, backoff and codecs have the time passed in.
pub(super) fn pure_files_have_no_clock(repository: &Repository) -> Vec<Violation> {
    let is_pure = |file: &TextFile| PURE.iter().any(|pure| file.path.starts_with(pure));
    let mut violations = Vec::new();
    for (file, rust) in repository.rust().filter(|(file, _)| is_pure(file)) {
        for line in lines_with_any(&rust.tokens.shipped, CLOCKS) {
            violations
                .push(file.violation(line, "a clock in a pure file: have the time passed in"));
        }
    }
    violations
}

/// A test that sleeps is slow on a fast machine and fails on a slow one.
pub(super) fn tests_do_not_sleep(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (file, Rust { tokens, .. }) in repository.rust() {
        let mut lines = lines_with_any(&tokens.tests, SLEEPS);
        if file.path.components().any(|part| part.as_os_str() == "tests") {
            lines.extend(lines_with_any(&tokens.shipped, SLEEPS));
        }
        for line in lines.into_iter().filter(|&line| !is_excused(file, line)) {
            let message =
                format!("a test that sleeps: wait for the event, or say why with `{EXCUSE}: …`");
            violations.push(file.violation(line, message));
        }
    }
    violations
}

/// `unsafe` is for the one system call that no library wraps.
pub(super) fn unsafe_stays_in_its_place(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (file, rust) in repository.rust() {
        if file.path.starts_with(UNSAFE_HOME) {
            continue;
        }
        for tokens in [&rust.tokens.shipped, &rust.tokens.tests] {
            for line in lines_with(tokens, &["unsafe"]) {
                violations.push(file.violation(line, format!("`unsafe` outside {UNSAFE_HOME}")));
            }
        }
    }
    violations
}

fn lines_with_any(tokens: &[Token], patterns: &[&[&str]]) -> Vec<usize> {
    patterns.iter().flat_map(|pattern| lines_with(tokens, pattern)).collect()
}

/// An excuse counts only if it gives a reason.
fn is_excused(file: &TextFile, line: usize) -> bool {
    let here_and_above =
        file.numbered_lines().filter(|(number, _)| *number == line || number + 1 == line);
    here_and_above
        .filter_map(|(_, text)| text.split_once(EXCUSE))
        .any(|(_, reason)| reason.split_whitespace().count() >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(violations: Vec<Violation>) -> Vec<usize> {
        violations.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_clock_in_a_pure_file_is_found() {
        let text = "fn f() { Instant::now() }\nfn g() { std::time::SystemTime::now() }\n\
                    fn h() { thread::sleep(d) }\n#[cfg(test)]\nmod tests { fn f() { Instant::now() } }\n";
        for path in ["crates/client/src/retry.rs", "crates/proto/src/deep/file.rs"] {
            assert_eq!(
                lines(pure_files_have_no_clock(&Repository::of(&[(path, text)]))),
                [1, 2, 3]
            );
        }
        let elsewhere = Repository::of(&[("crates/client/src/worker.rs", text)]);
        assert!(pure_files_have_no_clock(&elsewhere).is_empty());
    }

    #[test]
    fn a_sleeping_test_is_found_unless_it_says_why() {
        let text = "fn f() {\n  sleep(a);\n  sleep(b); // tidy: allow\n  \
                    // tidy: allow: the kernel offers no event for this\n  sleep(c);\n}\n";
        let integration = Repository::of(&[("crates/cli/tests/get.rs", text)]);
        assert_eq!(lines(tests_do_not_sleep(&integration)), [2, 3]);

        let unit = format!("#[cfg(test)]\nmod tests {{\n{text}}}\nfn g() {{ sleep(d) }}\n");
        let unit = Repository::of(&[("crates/cli/src/main.rs", &unit)]);
        assert_eq!(lines(tests_do_not_sleep(&unit)), [4, 5]);
    }

    #[test]
    fn unsafe_outside_its_place_is_found() {
        let text = "// unsafe in words is fine\nfn f() { unsafe { g() } }\n";
        let wrong = Repository::of(&[("crates/store/src/lib.rs", text)]);
        assert_eq!(lines(unsafe_stays_in_its_place(&wrong)), [2]);
        let right = Repository::of(&[(UNSAFE_HOME, text)]);
        assert!(unsafe_stays_in_its_place(&right).is_empty());
    }
}
