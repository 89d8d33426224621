//! The documents and the program say the same.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

fn read(file: &str) -> String {
    fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn help() -> String {
    let program =
        std::env::var_os("START_SERVER").unwrap_or(env!("CARGO_BIN_EXE_start_server").into());
    let output = Command::new(program).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    String::from_utf8(output.stdout).unwrap()
}

/// Every `--name` in a text.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '-');
    let names = words.filter_map(|word| word.strip_prefix("--"));
    names
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(str::to_string)
        .collect()
}

/// The parser's own table is held against `--help` by a unit test beside it.
#[test]
fn the_manual_describes_the_options_of_help_and_no_others() {
    let manual = read("man/start_server.1");
    let described = manual
        .lines()
        .filter_map(|line| line.strip_prefix(".It Fl -"))
        .map(|line| {
            let end = line
                .find(|c: char| !c.is_ascii_lowercase() && c != '-')
                .unwrap_or(line.len());
            line[..end].to_string()
        });
    assert_eq!(described.collect::<BTreeSet<_>>(), options(&help()));
}

#[test]
fn the_readme_names_no_option_that_does_not_exist() {
    let readme = read("README.md");
    let ours: String = readme
        .lines()
        .filter(|line| !line.contains("cargo"))
        .collect::<Vec<_>>()
        .join("\n");
    let unknown: Vec<String> = options(&ours)
        .difference(&options(&help()))
        .cloned()
        .collect();
    assert_eq!(
        unknown,
        ["fd", "its-options", "preload"],
        "but for three of workers"
    );
}

#[test]
fn the_readme_shows_the_units_of_systemd_as_they_are_installed() {
    let readme = read("README.md");
    for file in ["app.service", "app.socket"] {
        let unit = read(&format!("tests/services/systemd/{file}"));
        let sections = &unit[unit.find("[Unit]").unwrap()..];
        assert!(readme.contains(sections), "{file}");
    }
}
