//! The file of a notify socket, and the removal of those that a killed start_server has left behind.
//!
//! Each socket lies alone in a private folder: `DIRECTORY/start_server-XXXXXX/NAME`.

use crate::files::owned::STICKY;
use crate::sys::{datagram, file, process, socket};
use std::collections::hash_map::RandomState;
use std::fs::{self, Metadata};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{self, Path, PathBuf};

/// The path of a socket of ours. The socket and its folder are removed when this is dropped.
pub struct NotifyFile(PathBuf);

const FOLDER_PREFIX: &str = "start_server-";

/// The mode of a folder whose socket is bound. A worker that has dropped its privileges must reach the socket, so every
/// user may pass through the folder. No other user can list the folder, and the name of the socket is random.
const FOLDER_MODE: u32 = 0o711;

/// The number of hexadecimal digits in the name of a socket.
const NAME_LENGTH: usize = 16;

impl NotifyFile {
    /// Makes a folder in `runtime_dir` and binds a socket in it. Refuses a `runtime_dir` in which somebody else could
    /// replace that folder.
    pub fn bind(runtime_dir: &Path) -> io::Result<(OwnedFd, NotifyFile)> {
        check_private(&fs::metadata(runtime_dir)?)?;
        // A worker may run in another folder. Our own folder may be gone, which matters only for a relative path.
        let folder = file::make_folder(&path::absolute(runtime_dir)?.join(FOLDER_PREFIX))?;
        // The hasher is keyed with random numbers from the kernel.
        let name = RandomState::new().build_hasher().finish();
        let name = format!("{name:0NAME_LENGTH$x}");
        let file = NotifyFile(folder.join(&name));
        let socket = datagram::bind_datagrams(&folder, &name)?;
        // The folder has this mode only from now on, so `abandoned_socket` cannot mistake a socket that is just being
        // bound for an abandoned one.
        fs::set_permissions(&folder, fs::Permissions::from_mode(FOLDER_MODE))?;
        Ok((socket, file))
    }

    /// The file that this process has made at `path` before an upgrade.
    pub fn at(path: PathBuf) -> NotifyFile {
        NotifyFile(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for NotifyFile {
    fn drop(&mut self) {
        // A program that cleans temporary folders may have removed them already.
        let _ = fs::remove_file(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

/// Makes sure that nobody else can rename or remove what we make in this folder.
fn check_private(folder: &Metadata) -> io::Result<()> {
    let user = folder.uid();
    if !process::is_trusted(user) {
        return Err(io::Error::other(format!("it belongs to user {user}")));
    }
    if folder.mode() & WRITABLE_BY_ALL != 0 && folder.mode() & STICKY == 0 {
        return Err(io::Error::other("every user can write to it"));
    }
    Ok(())
}

const WRITABLE_BY_ALL: u32 = 0o002;

/// Removes the sockets and folders that a start_server of the same user has left in `runtime_dir` when it was killed.
pub fn remove_abandoned(runtime_dir: &Path) {
    // The folder was usable a moment ago. An obstacle now is no reason to refuse the start, since nothing needs the
    // removal.
    let Ok(entries) = path::absolute(runtime_dir).and_then(fs::read_dir) else {
        return;
    };
    for entry in entries.flatten() {
        if has_prefix(&entry) {
            drop(abandoned_socket(&entry.path()).map(NotifyFile));
        }
    }
}

fn has_prefix(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    name.as_encoded_bytes()
        .starts_with(FOLDER_PREFIX.as_bytes())
}

/// Returns the socket in `folder`, if both look like those of this program and no process has the socket open any more.
fn abandoned_socket(folder: &Path) -> Option<PathBuf> {
    let metadata = fs::symlink_metadata(folder).ok()?;
    let is_ours = metadata.uid() == process::user() && metadata.mode() & 0o777 == FOLDER_MODE;
    if !metadata.is_dir() || !is_ours {
        return None;
    }
    let mut entries = fs::read_dir(folder).ok()?;
    let (only, None) = (entries.next()?.ok()?, entries.next()) else {
        return None;
    };
    let name = only.file_name();
    let has_our_name =
        name.len() == NAME_LENGTH && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit);
    let is_socket = only.file_type().is_ok_and(|kind| kind.is_socket());
    let path = only.path();
    let is_abandoned = has_our_name
        && is_socket
        && matches!(
            socket::probe_unix(path.as_os_str()),
            Ok(socket::Probe::Abandoned)
        );
    is_abandoned.then_some(path)
}
