//! Asking for secrets: never echoed, never from the command line.

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};

/// A secret that its owner types, or the first line of what is piped in.
pub(crate) fn ask(prompt: &str) -> anyhow::Result<String> {
    let secret = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{prompt}: ")).context("cannot ask for it")?
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line).context("cannot read it from standard input")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if secret.is_empty() {
        bail!("nothing was entered");
    }
    Ok(secret)
}

/// The same, twice where somebody types it: what is mistyped would lock them out.
pub(crate) fn ask_new(prompt: &str) -> anyhow::Result<String> {
    let secret = ask(prompt)?;
    if io::stdin().is_terminal() && ask("the same again")? != secret {
        bail!("the two differ; nothing was changed");
    }
    Ok(secret)
}
