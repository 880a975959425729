//! The house rules hold in this workspace; the rules themselves are tested where they are written.

use xtask::{tidy, workspace_root};

#[test]
fn the_house_rules_hold() {
    let violations = tidy::check(workspace_root()).expect("the workspace can be read");
    let listed: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(listed.is_empty(), "\n{}\n", listed.join("\n"));
}
