//! The flags that say what belongs to a listing or a tree.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};
use towline_proto::limits::{PATTERN_BYTES_MAX, PATTERNS_BYTES_MAX, RULES_MAX};
use towline_proto::native::message::tree::{Rule, Verdict};

/// Shown in the help.
pub(crate) const FILTERS: &str = "\
--include and --exclude take lines of a .gitignore file, as often as needed: `*.tmp` anywhere,
`/build` at the top, `cache/` only folders, `**/old` below any folder. The last one that matches
decides. Nothing below an excluded folder is looked at. Where the first one is an --include, files
that none includes are left out. The server applies them: what is left out is not read. A listing
with anything that they leave out is not believed.";

const FLAGS: [(&str, Verdict, &str); 2] = [
    ("include", Verdict::Include, "What belongs to it, though an --exclude before it matches"),
    ("exclude", Verdict::Exclude, "What does not belong to it"),
];

/// `--include` and `--exclude`, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterArgs {
    pub(crate) rules: Vec<Rule>,
}

impl FromArgMatches for FilterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut placed = Vec::new();
        for (flag, verdict, _) in FLAGS {
            let places = matches.indices_of(flag).into_iter().flatten();
            let patterns = matches.get_many::<String>(flag).into_iter().flatten();
            let rule = |pattern: &String| Rule { verdict, pattern: pattern.clone() };
            placed.extend(places.zip(patterns.map(rule)));
        }
        placed.sort_by_key(|(place, _)| *place);
        if placed.len() > RULES_MAX {
            let text = format!("more than {RULES_MAX} of --include and --exclude\n");
            return Err(clap::Error::raw(ErrorKind::TooManyValues, text));
        }
        let bytes: usize = placed.iter().map(|(_, rule)| rule.pattern.len()).sum();
        if bytes > PATTERNS_BYTES_MAX {
            let text = format!(
                "--include and --exclude with more than {PATTERNS_BYTES_MAX} bytes of patterns\n"
            );
            return Err(clap::Error::raw(ErrorKind::TooManyValues, text));
        }
        Ok(Self { rules: placed.into_iter().map(|(_, rule)| rule).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for FilterArgs {
    fn augment_args(command: Command) -> Command {
        FLAGS.into_iter().fold(command, |command, (flag, _, help)| {
            let arg = Arg::new(flag).long(flag).value_name("PATTERN").help(help);
            command.arg(arg.action(ArgAction::Append).value_parser(pattern))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn pattern(text: &str) -> Result<String, String> {
    match text {
        "" => Err("an empty pattern matches nothing".into()),
        text if text.len() > PATTERN_BYTES_MAX => {
            Err(format!("a pattern of more than {PATTERN_BYTES_MAX} bytes"))
        }
        text => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};
    use towline_proto::native::message::tree::Verdict;

    use super::FilterArgs;

    fn parsed(args: &[&str]) -> Result<Vec<String>, clap::Error> {
        let command = FilterArgs::augment_args(Command::new("test").no_binary_name(true));
        let filter = FilterArgs::from_arg_matches(&command.try_get_matches_from(args)?)?;
        let told = |verdict| if verdict == Verdict::Include { '+' } else { '-' };
        Ok(filter
            .rules
            .iter()
            .map(|rule| format!("{}{}", told(rule.verdict), rule.pattern))
            .collect())
    }

    #[test]
    fn both_flags_keep_their_order() {
        let args = ["--exclude", "*", "--include=a", "--exclude", "b", "--include", "c"];
        assert_eq!(parsed(&args).unwrap(), ["-*", "+a", "-b", "+c"]);
        assert!(parsed(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_no_server_takes_is_refused_here() {
        assert!(parsed(&["--include", ""]).is_err());
        assert!(parsed(&["--include", &"x".repeat(1_025)]).is_err());
        assert!(parsed(&["--exclude=x"; 257]).is_err());
    }
}
