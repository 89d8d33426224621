//! The trial, seen from the new program.

use super::*;

/// The trial, seen from the new program: `words` is the command line with which it would go on, and the state is on
/// standard input. The error is one line.
pub fn answer(words: impl Iterator<Item = OsString>) -> Result<String, String> {
    if !matches!(cli::parse(words)?, cli::Command::Run(_)) {
        return Err("the command line does not start a server".to_string());
    }
    let input = inherit::adopt_fd(0)
        .map_err(|error| format!("cannot read the state: {}", reason(&error)))?;
    let state = read(input)?;
    Supervisor::restore(&state.supervisor, &state.workers, Time::ZERO)?;
    Ok(format!("{TRIAL_ACCEPTED}{}\n", env!("CARGO_PKG_VERSION")))
}

/// The answer that it understands, with its version behind it.
pub(super) const TRIAL_ACCEPTED: &str = "understood by start_server ";
