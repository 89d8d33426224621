//! Compares the splitting of the command line with Perl's Getopt::Long, on generated lines.

use super::splitting::{split, Takes, EXTENSIONS, PERL_OPTIONS};
use super::values::ParsedOptions;
use crate::error::Error;
use crate::fuzz::Random;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};

const LINES: u64 = 20_000;

/// The options as Perl's start_server declares them.
const SPECIFICATIONS: &str = "port=s path=s interval=i log-file=s pid-file=s dir=s signal-on-hup=s signal-on-term=s \
    backlog=i envdir=s enable-auto-restart daemonize auto-restart-interval=i kill-old-delay=i status-file=s restart \
    stop help version";

/// Calls GetOptions as Perl's start_server does, once for each line of standard input, and prints one line for each.
/// Words and values are in hexadecimal. The exit status is 77 where Getopt::Long is missing.
const SCRIPT: &str = r#"
    BEGIN { eval { require Getopt::Long; Getopt::Long->import; 1 } or exit 77 }
    $SIG{__WARN__} = sub {};
    my @specifications = split ' ', shift;
    my @lines = <STDIN>;
    for my $line (@lines) {
        chomp $line;
        my ($posixly_correct, @words) = split / /, $line;
        delete $ENV{POSIXLY_CORRECT};
        $ENV{POSIXLY_CORRECT} = '' if $posixly_correct;
        Getopt::Long::Configure('default');
        @ARGV = map { pack 'H*', substr $_, 1 } @words;
        my %opts = (port => [], path => []);
        my $fine = GetOptions(map {
            $_ => do {
                my $name = (split '=', $_, 2)[0];
                $opts{$name} ||= undef;
                ref($opts{$name}) ? $opts{$name} : \$opts{$name};
            },
        } @specifications);
        my @given;
        for my $name (sort keys %opts) {
            my @values = ref($opts{$name}) ? @{$opts{$name}} : grep { defined } $opts{$name};
            push @given, map { "$name=" . unpack 'H*', $_ } @values;
        }
        print $fine ? join(' ', @given, map { 'x' . unpack 'H*', $_ } @ARGV) : 'error', "\n";
    }
"#;

/// A generated command line, and its meaning to Perl and to us.
struct Line {
    posixly_correct: bool,
    words: Vec<OsString>,
    perl: String,
    ours: Result<String, Error>,
}

/// A kind of line that has another meaning to us than to Perl, on purpose.
struct Difference {
    reason: &'static str,
    applies: fn(&Line) -> bool,
}

const DIFFERENCES: [Difference; 5] = [
    Difference {
        reason: "the options that Perl lacks are errors there",
        applies: |line| {
            let is_extension = |word: &str| {
                let name = word.split('=').next();
                EXTENSIONS.iter().any(|(known, _)| Some(*known) == name)
            };
            line.perl == "error"
                && line.ours.is_ok()
                && line.has_option(|word, _| is_extension(word))
        },
    },
    Difference {
        reason: "--status without a value is ours; Perl gives --status-file the next word",
        applies: |line| {
            let is_dashed = |word: &OsStr| word.as_bytes().starts_with(b"-");
            line.has_option(|word, next| word == "status" && next.is_none_or(is_dashed))
        },
    },
    Difference {
        reason: "a negative time or count makes no sense",
        applies: |line| line.is_refused_by_us_alone(": a negative number"),
    },
    Difference {
        reason: "a number must fit into 32 bits",
        applies: |line| line.is_refused_by_us_alone(": too large a number"),
    },
    Difference {
        reason: "Perl's pattern for a number accepts a newline after it",
        applies: |line| line.is_refused_by_us_alone("\n: not a whole number"),
    },
];

impl Line {
    /// Whether `test` is true for a word and the word after it. The first is in lower case and has no starter.
    fn has_option(&self, test: impl Fn(&str, Option<&OsStr>) -> bool) -> bool {
        (0..self.words.len()).any(|at| {
            let word = self.words[at].to_string_lossy().to_lowercase();
            let next = self.words.get(at + 1).map(OsString::as_os_str);
            test(word.trim_start_matches(['-', '+']), next)
        })
    }

    fn is_refused_by_us_alone(&self, reason: &str) -> bool {
        let refused = |error: &Error| error.to_string().ends_with(reason);
        self.perl != "error" && self.ours.as_ref().is_err_and(refused)
    }

    fn is_understood_equally(&self) -> bool {
        match &self.ours {
            Ok(ours) => *ours == self.perl,
            Err(_) => self.perl == "error",
        }
    }
}

#[test]
fn command_lines_are_understood_as_getopt_long_understands_them() {
    let mut random = Random::new(1);
    let lines: Vec<_> = (0..LINES)
        .map(|_| (random.below(4) == 0, words(&mut random)))
        .collect();
    let Some(answers) = ask_perl(&lines) else {
        let text = b"skipped: perl or its Getopt::Long is not installed\n";
        io::stderr().write_all(text).unwrap();
        return;
    };
    let mut met = [0; DIFFERENCES.len()];
    let mut understood = 0;
    for ((posixly_correct, words), perl) in lines.into_iter().zip(answers) {
        let ours = understand(&words, posixly_correct);
        let line = Line {
            posixly_correct,
            words,
            perl,
            ours,
        };
        if line.is_understood_equally() {
            understood += u64::from(line.ours.is_ok());
            continue;
        }
        let difference = DIFFERENCES
            .iter()
            .position(|difference| (difference.applies)(&line));
        let Some(difference) = difference else {
            panic!(
                "{:?}, POSIXLY_CORRECT {}\nperl: {}\nours: {:?}",
                line.words, line.posixly_correct, line.perl, line.ours
            );
        };
        met[difference] += 1;
    }
    assert!(
        understood > LINES / 4,
        "only {understood} lines have no error"
    );
    for (difference, met) in DIFFERENCES.iter().zip(met) {
        assert!(met > 0, "never met: {}", difference.reason);
    }
}

#[test]
fn the_table_has_perls_options_and_no_others() {
    let takes = |kind: &str| {
        if kind.is_empty() {
            Takes::Nothing
        } else {
            Takes::Value
        }
    };
    let mut perl: Vec<_> = specifications()
        .map(|(name, kind)| (name, takes(kind)))
        .collect();
    let mut ours = PERL_OPTIONS.to_vec();
    perl.sort_by_key(|(name, _)| *name);
    ours.sort_by_key(|(name, _)| *name);
    assert_eq!(perl, ours);
}

/// The names of Perl's options, each with `s` for a text, `i` for a number, or nothing.
fn specifications() -> impl Iterator<Item = (&'static str, &'static str)> {
    let words = SPECIFICATIONS.split_whitespace();
    words.map(|word| word.split_once('=').unwrap_or((word, "")))
}

fn is_number(option: &str) -> bool {
    specifications().any(|specification| specification == (option, "i"))
}

/// The answers of SCRIPT, if perl and Getopt::Long are installed.
fn ask_perl(lines: &[(bool, Vec<OsString>)]) -> Option<Vec<String>> {
    let mut perl = Command::new("perl")
        .args(["-e", SCRIPT, SPECIFICATIONS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = String::new();
    for (posixly_correct, words) in lines {
        input += if *posixly_correct { "1" } else { "0" };
        for word in words {
            input += " x";
            input += &hexadecimal(word.as_bytes());
        }
        input += "\n";
    }
    // The script reads all its input before it prints. It ends at once if Getopt::Long is missing.
    let written = perl.stdin.take().unwrap().write_all(input.as_bytes());
    let output = perl.wait_with_output().unwrap();
    if output.status.code() == Some(77) {
        return None;
    }
    written.unwrap();
    assert!(output.status.success(), "perl: {}", output.status);
    let answers: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(String::from)
        .collect();
    assert_eq!(answers.len(), lines.len());
    Some(answers)
}

/// Splits a line with our code, and writes the result as SCRIPT does.
fn understand(words: &[OsString], posixly_correct: bool) -> Result<String, Error> {
    let (options, program) = split(words.to_vec(), posixly_correct)?;
    let mut names: Vec<_> = PERL_OPTIONS.iter().chain(EXTENSIONS).collect();
    names.sort();
    let mut text = Vec::new();
    for (name, takes) in names {
        for value in values(&options, name, *takes)? {
            text.push(format!("{name}={}", hexadecimal(&value)));
        }
    }
    let word = |word: &OsString| format!("x{}", hexadecimal(word.as_bytes()));
    text.extend(program.iter().map(word));
    Ok(text.join(" "))
}

/// The values of an option, as Perl has them: the last one only, but all ports and paths.
fn values(
    options: &ParsedOptions,
    name: &'static str,
    takes: Takes,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut values: Vec<_> = options
        .all(name)
        .map(|value| value.as_bytes().to_vec())
        .collect();
    if is_number(name) {
        let number = options.number(name)?;
        values = number
            .iter()
            .map(|number| number.to_string().into())
            .collect();
    } else if takes == Takes::Nothing {
        values.fill(b"1".to_vec());
    }
    if name != "port" && name != "path" {
        values.drain(..values.len().saturating_sub(1));
    }
    Ok(values)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Generates a command line.
fn words(random: &mut Random) -> Vec<OsString> {
    const OTHERS: [&[u8]; 8] = [b"prog", b"prog", b"-", b"--", b"+", b"=", b"---", b"\xff"];
    let mut words = Vec::new();
    for _ in 0..random.below(7) {
        match random.below(6) {
            0 => words.push(pick(random, &OTHERS).to_vec()),
            1 => words.push(value(random)),
            _ => option(random, &mut words),
        }
    }
    words.into_iter().map(OsString::from_vec).collect()
}

/// Generates an option, often with a value that suits it.
fn option(random: &mut Random, words: &mut Vec<Vec<u8>>) {
    const STARTERS: [&str; 12] = [
        "--", "--", "--", "--", "-", "-", "-", "+", "+", "++", "---", "+-",
    ];
    let (name, takes) = if random.below(20) == 0 {
        *pick(random, EXTENSIONS)
    } else {
        *pick(random, PERL_OPTIONS)
    };
    let mut typed = name.to_string();
    match random.below(12) {
        0..3 => typed.truncate(random.below(typed.len() as u64 + 1) as usize),
        3 => typed.make_ascii_uppercase(),
        4 => typed[..1].make_ascii_uppercase(),
        5 => typed += *pick(random, &["s", "\n", "é", "-"]),
        _ => {}
    }
    let mut word = [pick(random, &STARTERS).as_bytes(), typed.as_bytes()].concat();
    let takes_value = (takes == Takes::Value) != (random.below(12) == 0);
    let value = if is_number(name) && random.below(4) > 0 {
        b"1_0".to_vec()
    } else {
        value(random)
    };
    if !takes_value {
        words.push(word);
    } else if random.below(2) == 0 {
        word.push(b'=');
        word.extend(value);
        words.push(word);
    } else {
        words.push(word);
        words.push(value);
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    const VALUES: [&[u8]; 20] = [
        b"",
        b"0",
        b"-0",
        b"7",
        b"+007",
        b"-1",
        b"_1_",
        b"1_0",
        b"4294967296",
        b"3\n",
        b"1.5",
        b"+",
        b"x=y",
        b"=",
        b" ",
        b"a b",
        b"\n",
        b"\xc3\xa9",
        b"\xff\xfe",
        b"--port",
    ];
    pick(random, &VALUES).to_vec()
}

fn pick<'a, T>(random: &mut Random, choices: &'a [T]) -> &'a T {
    &choices[random.below(choices.len() as u64) as usize]
}
