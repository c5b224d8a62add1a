//! The question before something that cannot be undone.

use std::io::{IsTerminal, stdin};

use anyhow::bail;

/// Whether the person at the terminal agrees. Without a terminal nobody can, and then `--yes` is needed.
pub(super) fn agrees(yes: bool, question: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !stdin().is_terminal() {
        bail!("{question} There is no terminal to answer this question at: add --yes if you mean it");
    }
    eprint!("{question} Type yes to go on: ");
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
