//! The status file: a line `GENERATION:PID` for each worker that passed its check.

use crate::file::{open_regular, OurFile};
use crate::sys::process;
use crate::worker::{Generation, Pid, Worker};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The status file that this process keeps. It is removed in the end.
pub struct StatusFile {
    path: PathBuf,
    /// What was renamed into place last.
    published: Option<OurFile>,
}

impl StatusFile {
    /// Makes sure that the file can be written, without touching one that is there.
    pub fn check(path: &Path) -> io::Result<StatusFile> {
        let status = StatusFile {
            path: path.to_path_buf(),
            published: None,
        };
        // To rename over /dev/null would take it from the whole system.
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let temporary = status.temporary();
        // Nobody else can have this number now, so it is what a killed process of the same one left.
        if fs::symlink_metadata(&temporary).is_ok_and(|metadata| metadata.is_file()) {
            fs::remove_file(&temporary)?;
        }
        create(&temporary)?;
        fs::remove_file(&temporary)?;
        Ok(status)
    }

    /// Replaces the file whole: a reader sees the old one or the new one.
    pub fn publish(&mut self, workers: &[Worker]) -> io::Result<()> {
        let temporary = self.temporary();
        let mut file = create(&temporary)?;
        let renamed = file
            .write_all(render(workers).as_bytes())
            .and_then(|()| file.metadata())
            .and_then(|metadata| fs::rename(&temporary, &self.path).map(|()| metadata));
        match renamed {
            Ok(metadata) => {
                // What was there before is replaced already: nothing is left of it to be removed.
                self.published = Some(OurFile::new(&self.path, &metadata));
                Ok(())
            }
            Err(error) => {
                // It is ours, made above; if it cannot be removed either, the first error still says why.
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    fn temporary(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{}", process::id()));
        name.into()
    }
}

/// Refuses whatever lies there, so that nothing planted is followed or overwritten.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn render(workers: &[Worker]) -> String {
    workers
        .iter()
        .map(|worker| format!("{}:{}\n", worker.generation, worker.pid))
        .collect()
}

/// The generations and processes that a status file tells of.
pub fn read(path: &Path) -> io::Result<Vec<(Generation, Pid)>> {
    let mut text = Vec::new();
    open_regular(path, OpenOptions::new().read(true))?.read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// Lines of another form are passed over.
fn parse(text: &str) -> Vec<(Generation, Pid)> {
    let line = |line: &str| {
        let (generation, pid) = line.split_once(':')?;
        Some((generation.parse().ok()?, pid.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Part;

    #[test]
    fn what_is_rendered_reads_back() {
        let worker = |generation, pid| Worker {
            pid,
            generation,
            part: Part::Old,
        };
        let workers = [worker(9, 300), worker(10, 12), worker(11, 4)];
        assert_eq!(render(&workers), "9:300\n10:12\n11:4\n");
        assert_eq!(parse(&render(&workers)), [(9, 300), (10, 12), (11, 4)]);
        assert_eq!(render(&[]), "");
    }

    #[test]
    fn other_lines_are_passed_over() {
        assert_eq!(
            parse("failed:4\n\n:\n1:\n:2\nx:y\n3:4:5\n7:8\n99999999999999999999:1\n7:-"),
            [(7, 8)]
        );
    }
}
