//! Reading what somebody else writes. It never lasts longer than the limit.

use super::kernel;
use super::waiting::{now, LIMIT};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Everything up to the end, which is there when nobody can write any more.
pub fn rest(source: impl Into<OwnedFd>) -> String {
    read_until(&source.into(), |_| false)
}

/// Everything until it is enough, or up to the end.
pub fn read_until(source: &OwnedFd, is_enough: impl Fn(&str) -> bool) -> String {
    let mut file = File::from(source.try_clone().unwrap());
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    let start = now();
    loop {
        let text = String::from_utf8_lossy(&read);
        if is_enough(&text) {
            return text.into_owned();
        }
        assert!(start.elapsed() < LIMIT, "read in vain: {text}");
        if kernel::readable(&[source.as_raw_fd()]).is_none() {
            continue;
        }
        match file.read(&mut piece) {
            Ok(0) => return text.into_owned(),
            Ok(count) => read.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error} after {text}"),
        }
    }
}

/// The reading end of a FIFO, whether or not somebody writes into it.
pub fn open_fifo(path: &Path) -> OwnedFd {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    options.open(path).unwrap().into()
}
