//! The status file, and the file of the details beside it: kept up to date by start_server, read by the control
//! commands. `status_text` and `details` own their lines.

use crate::error::Error;
use crate::files::details::{Date, Details, SavedDetails};
use crate::files::folder_lock::lock_folders;
use crate::files::owned::{open_regular, SavedFile};
use crate::files::replaced::{ReplacedFile, Written};
use crate::files::status_text::{parse, render, Snapshot};
use crate::log::lines::Log;
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Report, Status};
use crate::sys::fd;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The status file of this process, and its details. Both are removed when this value is dropped.
pub struct StatusFile {
    pub details: Details,
    // The details are removed last: a reader that finds the status file finds its details too.
    status_file: ReplacedFile,
    details_file: ReplacedFile,
    /// A spare descriptor. It is closed during a write, so that the new file can be opened if no other one is free.
    spare: Option<OwnedFd>,
}

impl StatusFile {
    /// The details are set when the pid is known.
    pub fn new(path: &Path) -> StatusFile {
        StatusFile {
            details: Details::default(),
            status_file: ReplacedFile::new(path.to_path_buf(), "status"),
            details_file: ReplacedFile::new(details_path(path), "details"),
            spare: None,
        }
    }

    /// Makes sure that both files can be written, without changing one that exists.
    pub fn check(&self) -> Result<(), Error> {
        for file in [&self.status_file, &self.details_file] {
            let refuse = |error| Error::option("status-file", file.path(), error);
            file.check().map_err(refuse)?;
        }
        Ok(())
    }

    /// Writes the details for the first time, unless another start_server has begun to write one of the files.
    pub fn begin(
        &mut self,
        report: &Report,
        date: Date,
        now: Time,
        log: &mut Log,
    ) -> Result<(), Error> {
        let _locks = lock_folders(&[self.status_file.path().to_path_buf()]);
        for file in [&self.status_file, &self.details_file] {
            let refuse = |error| Error::option("status-file", file.path(), error);
            file.check_unused().map_err(refuse)?;
        }
        self.update(report, date, now, log);
        Ok(())
    }

    /// Puts these workers into the status file, now or as soon as it can be written.
    pub fn publish(&mut self, status: &Status, now: Time, log: &mut Log) {
        if self.status_file.set(render(status)) {
            self.write(|files| &mut files.status_file, now, log);
        }
    }

    /// Puts what is new into the file of the details.
    pub fn update(&mut self, report: &Report, date: Date, now: Time, log: &mut Log) {
        self.details.update(report, date);
        if self.details_file.set(self.details.render()) {
            self.write(|files| &mut files.details_file, now, log);
        }
    }

    /// Repeats a write that failed, when it is time.
    pub fn tick(&mut self, now: Time, log: &mut Log) {
        if self.details_file.is_due(now) {
            self.write(|files| &mut files.details_file, now, log);
        }
        if self.status_file.is_due(now) {
            self.write(|files| &mut files.status_file, now, log);
        }
    }

    /// The time at which another attempt to write is due.
    pub fn deadline(&self) -> Option<Time> {
        let files = [&self.status_file, &self.details_file];
        files.into_iter().filter_map(ReplacedFile::deadline).min()
    }

    /// Logs the first failure and the recovery, but not every attempt between them.
    fn write(
        &mut self,
        file: impl Fn(&mut StatusFile) -> &mut ReplacedFile,
        now: Time,
        log: &mut Log,
    ) {
        self.spare = None;
        let written = file(self).write(now);
        self.keep_spare();
        let name = file(self).name();
        match written {
            Written::AsBefore => {}
            Written::Again => log.note(&format!("{name} is written again")),
            Written::Failed(error) => log.note(&Error::action("write", name, error).to_string()),
        }
    }

    /// If there is no descriptor to keep, the next write may fail. It is then repeated.
    ///
    /// The start calls this when the sockets are bound: the lowest free numbers are for them.
    pub fn keep_spare(&mut self) {
        self.spare = fd::open_null().ok();
    }

    pub fn save(&self) -> impl Iterator<Item = SavedFile> {
        let files = [self.status_file.save(), self.details_file.save()];
        files.into_iter().flatten()
    }

    /// Takes over both files from the program before the upgrade. Version 0.1.0 had no details.
    pub fn restore(&mut self, files: &[SavedFile], details: Option<&SavedDetails>) {
        if let Some(details) = details {
            self.details.restore(details);
        }
        self.status_file.restore(files);
        self.details_file.restore(files);
    }
}

/// The path of the details beside this status file.
pub fn details_path(status_file: &Path) -> PathBuf {
    let mut path = OsString::from(status_file);
    path.push(".details");
    path.into()
}

/// Reads the status file of any start_server.
pub fn read(path: &Path) -> io::Result<Snapshot> {
    read_text(path).map(|text| parse(&text))
}

/// Reads the details beside a status file. Perl's start_server and version 0.1.0 write none.
pub fn read_details(status_file: &Path) -> Option<Details> {
    Details::parse(&read_text(&details_path(status_file)).ok()?)
}

/// No status file and no details are longer, in bytes. Another file may be at the path.
const MAX_LENGTH: u64 = 1 << 20;

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    let file = open_regular(path, OpenOptions::new().read(true))?;
    file.take(MAX_LENGTH).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
