//! A folder for the files of a test.

use std::fs;
use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of the test's own, removed in the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "ss-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::SeqCst)
        );
        // The name is short, since a socket's address has room for 103 bytes on some systems.
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    /// A folder that somebody else has made, to be removed in the end too.
    pub fn adopt(path: PathBuf) -> Scratch {
        Scratch(path)
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a program. Another process writes it: a child that some other test forks meanwhile would have our
    /// descriptor until it executes its own program, and nobody can execute what is open for writing.
    pub fn program(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]);
        let mut shell = shell.arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = shell.stdin.take().unwrap();
        input.write_all(text.as_ref()).unwrap();
        drop(input);
        assert!(shell.wait().unwrap().success());
        path
    }

    /// The text of a file; none is empty.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read(self.path(name)).map_or(String::new(), |text| {
            String::from_utf8_lossy(&text).into_owned()
        })
    }

    /// The names in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A worker that has just begun may write into the folder or rename a file of it meanwhile.
        while self.0.exists() {
            match fs::remove_dir_all(&self.0).map_err(|error| error.kind()) {
                Ok(()) | Err(DirectoryNotEmpty | NotFound) => {}
                // A test has taken the permission away.
                Err(_) => {
                    let mut chmod = Command::new("chmod");
                    let allowed = chmod.args(["-R", "u+rwx"]).arg(&self.0).status();
                    if !allowed.is_ok_and(|status| status.success()) {
                        break;
                    }
                }
            }
        }
    }
}
