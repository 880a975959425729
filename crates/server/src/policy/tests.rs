//! What rules allow and deny, by principals, actions and paths.

use towline_proto::name::RemoteName;

use super::*;

fn rule(path: &str, who: &[&str], effect: Effect, actions: &[Action]) -> Rule {
    Rule {
        area: Area::parse(path).unwrap(),
        who: who.iter().map(|who| who.parse().unwrap()).collect(),
        effect,
        actions: Actions::of(actions),
    }
}

fn allow(path: &str, who: &[&str], actions: &[Action]) -> Rule {
    rule(path, who, Effect::Allow, actions)
}

fn ann() -> Principal {
    Principal::user("ann", &["lab".into()])
}

fn reads(policy: &Policy, principal: &Principal, path: &str) -> bool {
    let name = RemoteName::parse(path.as_bytes()).unwrap();
    policy.allows(principal, Action::Read, Some(&name))
}

#[test]
fn what_no_rule_allows_is_denied() {
    let policy = Policy::new(vec![]);
    assert!(!reads(&policy, &ann(), "a"));
    let policy = Policy::new(vec![allow("/a", &["user:ann"], &[Action::List])]);
    assert!(!reads(&policy, &ann(), "a"));
    assert!(policy.allows(&ann(), Action::List, Some(&RemoteName::parse(b"a").unwrap())));
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    let everything = allow("/", &["anonymous"], &Action::ALL);
    let denial = rule("/a/secret", &["anonymous"], Effect::Deny, &[Action::Read]);
    for rules in [vec![everything.clone(), denial.clone()], vec![denial, everything]] {
        let policy = Policy::new(rules);
        assert!(reads(&policy, &ann(), "a/b"));
        assert!(!reads(&policy, &ann(), "a/secret"));
        assert!(!reads(&policy, &Principal::anonymous(), "a/secret/below"));
        assert!(reads(&policy, &ann(), "a/secrets"));
    }
}

#[test]
fn an_area_is_what_its_pattern_matches_and_all_below() {
    for (pattern, inside, outside) in [
        ("/a", &["a", "a/b", "a/b/c"][..], &["ab", "b/a"][..]),
        ("/a/**", &["a", "a/b"], &["ab"]),
        ("/a/", &["a", "a/b"], &["ab"]),
        ("/a/*/c", &["a/b/c", "a/x/c/d"], &["a/c", "a/b/b/c", "a/b/cc"]),
        ("/**/c", &["c", "a/c", "a/b/c/d"], &["a/cc"]),
        ("/a/?", &["a/b", "a/é", "a/é/b"], &["a/bc", "a/éé", "a"]),
        ("/*", &["a", "a/b"], &[]),
        ("/logs/*.gz", &["logs/x.gz", "logs/.gz"], &["logs/x.gzip", "logs/a/x.gz"]),
        ("/", &["a", "a/b"], &[]),
        ("/**", &["a", "a/b"], &[]),
    ] {
        let policy = Policy::new(vec![allow(pattern, &["anonymous"], &[Action::Read])]);
        let is_allowed = |path: &&str| reads(&policy, &Principal::anonymous(), path);
        assert!(inside.iter().all(is_allowed), "{pattern}");
        assert!(!outside.iter().any(is_allowed), "{pattern}");
    }
}

#[test]
fn a_name_that_is_no_text_is_covered_as_well() {
    let policy = Policy::new(vec![allow("/a/*", &["anonymous"], &[Action::Read])]);
    let name = RemoteName::parse(b"a/\xff\xfe").unwrap();
    assert!(policy.allows(&Principal::anonymous(), Action::Read, Some(&name)));
}

#[test]
fn patterns_that_never_match_are_errors() {
    for wrong in ["a", "", "/a//b", "/a/../b", "/./a", "//", "/a/[", "/{a"] {
        assert!(Area::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn rules_are_about_users_groups_certificates_and_everybody() {
    let of = |who: &str| Policy::new(vec![allow("/", &[who], &[Action::Read])]);
    let certified = Principal::anonymous().with_certificate(&["backup.example".into()]);
    let nobody = Principal::anonymous();
    for (who, principals) in [
        ("user:ann", [true, false, false]),
        ("user:bob", [false, false, false]),
        ("group:lab", [true, false, false]),
        ("cert:backup.example", [false, true, false]),
        ("anonymous", [true, true, true]),
    ] {
        let may = [&ann(), &certified, &nobody].map(|who_asks| reads(&of(who), who_asks, "x"));
        assert_eq!(may, principals, "{who}");
    }
    for wrong in ["ann", "user:", "cert", "role:x", "Anonymous", ""] {
        assert!(wrong.parse::<Who>().is_err(), "{wrong}");
    }
}

#[test]
fn a_scope_takes_away_and_never_adds() {
    let policy = Policy::new(vec![allow("/lab", &["group:lab"], &[Action::Read, Action::Write])]);
    let within = |path: &str, actions: &[Action]| {
        ann().within(vec![Area::parse(path).unwrap()], Actions::of(actions))
    };
    assert!(reads(&policy, &within("/lab/a", &[Action::Read]), "lab/a/b"));
    assert!(!reads(&policy, &within("/lab/a", &[Action::Read]), "lab/b"));
    assert!(!reads(&policy, &within("/lab/a", &[Action::Write]), "lab/a"));
    assert!(!reads(&policy, &within("/other", &[Action::Read]), "other"));
}

#[test]
fn what_is_allowed_everywhere_is_so_only_where_nothing_can_be_denied() {
    let everywhere = |policy: &Policy, who: &Principal| policy.allows_everywhere(who, Action::List);
    assert!(everywhere(&Policy::open(), &Principal::anonymous()));
    assert!(!Policy::open().allows_everywhere(&ann(), Action::Write));
    let part = Policy::new(vec![allow("/a", &["anonymous"], &Action::ALL)]);
    assert!(!everywhere(&part, &ann()));
    let all = allow("/", &["anonymous"], &Action::ALL);
    let denied = rule("/a", &["user:bob"], Effect::Deny, &Action::ALL);
    assert!(!everywhere(&Policy::new(vec![all, denied]), &ann()));
    let scoped = ann().within(vec![Area::everything()], Actions::all());
    assert!(!everywhere(&Policy::open(), &scoped));
}
