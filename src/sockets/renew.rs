//! Binding a socket again when nobody can connect to it any more: the file of a Unix socket is gone, or a worker has
//! shut the socket down for ever. The new socket gets the descriptor number of the old one, so the variables of the
//! workers stay true. Workers that run already keep the old socket.

use super::bind::bind_path;
use super::in_the_way::{path_state, PathState};
use super::{BoundSocket, Listeners, PathAccess, SocketOrigin};
use crate::error::{Error, Reason};
use crate::files::folder_lock::lock_folders;
use crate::log::lines::Log;
use crate::sys::{fd, socket};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

impl Listeners {
    /// Binds again each socket that nobody can connect to. At its path, a socket on which a process listens and any
    /// other kind of file are left alone.
    pub fn renew(&mut self, log: &mut Log) {
        for bound in &mut self.sockets {
            let renewed = bound.renew(&self.path_access);
            let name = &bound.name;
            match renewed {
                Ok(None) => {}
                Ok(Some(why)) => {
                    let name = name.to_string_lossy();
                    log.note(&format!("bound {name} again, because {why}"));
                }
                Err(reason) => log.note(&Error::action("rebind", name, reason).to_string()),
            }
        }
    }
}

impl BoundSocket {
    /// Returns why the socket was bound again, if that was necessary.
    fn renew(&mut self, access: &PathAccess) -> Result<Option<&'static str>, Reason> {
        let is_dead = self.is_dead;
        match &mut self.origin {
            SocketOrigin::Path(file) => {
                let path = PathBuf::from(&self.name);
                let is_there = fs::symlink_metadata(&path).is_ok_and(|found| file.is(&found));
                if is_there && !is_dead {
                    return Ok(None);
                }
                let _locks = lock_folders(std::slice::from_ref(&path));
                let state = if is_there {
                    PathState::StaleSocket
                } else {
                    path_state(&path, &[])?
                };
                if state == PathState::StaleSocket {
                    fs::remove_file(&path)?;
                }
                let (socket, metadata) = bind_path(&path, access, self.backlog)?;
                file.set_metadata(&metadata);
                self.put_in_place(socket)?;
            }
            SocketOrigin::Port(address) if is_dead => {
                let socket = socket::bind_inet(address, self.backlog)?;
                self.put_in_place(socket)?;
            }
            SocketOrigin::Port(_) | SocketOrigin::Inherited => return Ok(None),
        }
        Ok(Some(if is_dead {
            "a worker had shut it down"
        } else {
            "its file was gone"
        }))
    }

    /// Gives a new socket the descriptor number of the old one, which is closed.
    fn put_in_place(&mut self, socket: OwnedFd) -> Result<(), Reason> {
        fd::replace(self.socket.as_fd(), socket)?;
        self.is_dead = false;
        Ok(())
    }
}
