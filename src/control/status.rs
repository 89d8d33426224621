//! `--status`.

use super::upgrade::upgraded;
use super::*;

/// Tells people about the start_server of `pid_file` and, where there is a status file, its workers.
pub fn status(pid_file: &Path, status_file: Option<&Path>) -> Result<String, ControlError> {
    let held = Held::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(message) => ControlError::NotRunning(message),
        Absent::Unusable(message) => ControlError::Refused(message),
    })?;
    let mut text = format!("start_server (pid {}) is running", held.pid);
    if let Some(Ok(since)) = held.since().map(|since| since.duration_since(UNIX_EPOCH)) {
        text += &format!(" since {}", date(since.as_secs()));
    }
    text += "\n";
    let Some(status_file) = status_file else {
        return Ok(text);
    };
    let seen = match status_file::read(status_file) {
        // There is none before the first worker stands.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            text += &format!("no worker is up yet: {}\n", unreadable(status_file, &error));
            return Ok(text);
        }
        read => read.map_err(|error| ControlError::Refused(unreadable(status_file, &error)))?,
    };
    if let Some(upgrade) = &seen.upgrades.last {
        text += &upgraded(upgrade);
        text += "\n";
    }
    let newest = newest(&seen);
    text += &match newest {
        Some(generation) => format!("generation {generation} serves\n"),
        None => "no worker is up yet\n".to_string(),
    };
    if let Some(start_failure) = seen.start_failure {
        let next = if start_failure.given_up {
            "given up"
        } else {
            "trying again"
        };
        text += &format!(
            "generation {} failed to start, {next}\n",
            start_failure.failed
        );
    }
    for (generation, pid) in &seen.workers {
        let part = if Some(*generation) == newest {
            "current"
        } else {
            "old"
        };
        text += &worker_line(*generation, *pid, part);
    }
    Ok(text)
}

/// The date of a moment in seconds since 1970, such as `2009-05-27 18:05:12 UTC`.
pub(super) fn date(moment: u64) -> String {
    // Years that begin in March end with the leap day, so that the months before it are all alike: 153 days
    // in each five. 719468 days lie between 1 March of year 0 and 1970; 146097 make 400 years.
    let (days, second) = (moment / 86_400 + 719_468, moment % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = match month {
        0..=9 => (month + 3, year + era * 400),
        _ => (month - 9, year + era * 400 + 1),
    };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn worker_line(generation: Generation, pid: Pid, part: &str) -> String {
    let age = process::age(pid).unwrap_or_else(|| "an unknown time".to_string());
    format!("worker {pid}: generation {generation}, {part}, up for {age}\n")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        // As `date -u -d @SECONDS` has them.
        let table = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_243_447_512, "2009-05-27 18:05:12 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ];
        for (moment, text) in table {
            assert_eq!(date(moment), text);
        }
    }
}
