//! Rules about the shape of a Rust file: how it opens, how long it and its functions are.

use syn::visit::{self, Visit};

use super::Violation;
use super::repository::Repository;

/// The aim is 500; above this a file holds two subjects.
const FILE_LINES_MAX: usize = 800;

/// The aim is 70; above this nobody sees the whole.
const FUNCTION_LINES_MAX: usize = 100;

/// A file opens with a `//!` line that says what lives there.
pub(super) fn opens_with_its_purpose(repository: &Repository) -> Vec<Violation> {
    repository
        .rust()
        .filter(|(file, _)| !file.text.starts_with("//! "))
        .map(|(file, _)| {
            file.violation(1, "open the file with a `//!` line that says what lives here")
        })
        .collect()
}

/// No file is too long to be read in one sitting.
pub(super) fn file_length(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (file, _) in repository.rust() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            let message = format!("{lines} lines, {FILE_LINES_MAX} at most: split along meaning");
            violations.push(file.violation(FILE_LINES_MAX, message));
        }
    }
    violations
}

/// No function is too long to be seen at once.
pub(super) fn function_length(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (file, rust) in repository.rust() {
        let mut functions = Functions::default();
        functions.visit_file(&rust.syntax);
        for Function { name, line, lines } in functions.found {
            if lines > FUNCTION_LINES_MAX {
                let message = format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} at most");
                violations.push(file.violation(line, message));
            }
        }
    }
    violations
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Collects every function with a body, from `fn` to its closing brace.
#[derive(Default)]
struct Functions {
    found: Vec<Function>,
}

impl Functions {
    fn push(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line + 1 - line;
        self.found.push(Function { name: signature.ident.to_string(), line, lines });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.push(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.push(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.push(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_purpose_is_found() {
        let repository = Repository::of(&[("a.rs", "fn a() {}\n"), ("b.rs", "//! Letters.\n")]);
        let violations = opens_with_its_purpose(&repository);
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].path.to_str(), Some("a.rs"));
    }

    #[test]
    fn a_file_too_long_is_found() {
        let fits = "\n".repeat(FILE_LINES_MAX);
        let over = "\n".repeat(FILE_LINES_MAX + 1);
        let repository = Repository::of(&[("fits.rs", &fits), ("over.rs", &over)]);
        assert_eq!(file_length(&repository).len(), 1);
    }

    #[test]
    fn a_function_too_long_is_found_wherever_it_stands() {
        let body = |lines: usize| format!("fn f() {{{}}}", "\n".repeat(lines - 1));
        let (fits, over) = (body(FUNCTION_LINES_MAX), body(FUNCTION_LINES_MAX + 1));
        for (before, after) in [("", ""), ("impl A {", "}"), ("trait A {", "}"), ("mod a {", "}")] {
            let wrapped = |function: &str| format!("{before}\n{function}\n{after}\n");
            let (fits, over) = (wrapped(&fits), wrapped(&over));
            let repository = Repository::of(&[("fits.rs", &fits), ("over.rs", &over)]);
            let violations = function_length(&repository);
            assert_eq!(violations.len(), 1, "{before}");
            assert_eq!(violations[0].line, 2);
        }
    }
}
