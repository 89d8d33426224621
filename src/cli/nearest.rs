//! Finds the option that a mistyped name was probably meant to be. Pure.

use super::splitting::{EXTENSIONS, PERL_OPTIONS};

/// Returns the option whose name is nearest to `typed`, if one is near. `typed` is in lower case and has no dashes.
pub fn nearest(typed: &str) -> Option<&'static str> {
    let all = PERL_OPTIONS.iter().chain(EXTENSIONS);
    let distances = all.map(|(option, _)| (distance(typed.as_bytes(), option.as_bytes()), *option));
    let (distance, option) = distances.min()?;
    // With more than one mistake in three letters, a suggestion would be a guess.
    (distance * 3 <= typed.len()).then_some(option)
}

/// Counts the letters to insert, remove or change, and the neighbours to swap, that make one word of the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    // The rows for the first i - 2, i - 1 and i letters of `a`.
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let table = [
            ("port", "port", 0),
            ("prot", "port", 1),
            ("por", "port", 1),
            ("ports", "port", 1),
            ("part", "port", 1),
            ("", "port", 4),
            ("kitten", "sitting", 3),
        ];
        for (a, b, expected) in table {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_a_near_option_is_named() {
        let table = [
            ("prot", Some("port")),
            ("pidfile", Some("pid-file")),
            ("pid_file", Some("pid-file")),
            ("statusfile", Some("status-file")),
            ("deamonize", Some("daemonize")),
            ("redy", Some("ready")),
            ("workers", None),
            ("x", None),
            ("", None),
        ];
        for (typed, option) in table {
            assert_eq!(nearest(typed), option, "{typed}");
        }
    }
}
