//! The socket in the file system: made once, by one daemon, gone with it.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Applications that wait to be accepted.
const BACKLOG: i32 = 128;

/// Removes the socket's file when it is dropped, if it is still ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Held as long as the socket's file is ours. Two daemons that start together could otherwise
    /// both find a dead one's, and the second remove that of the first.
    _lock: Flock<File>,
}

impl SocketFile {
    /// Makes a socket that listens at `path`, for everybody or for the daemon's own user; its
    /// folder, too, if that is missing. The error is for people.
    ///
    /// The file of a daemon that is dead is replaced.
    pub fn bind(path: &Path, for_everybody: bool) -> Result<(Self, Socket), String> {
        make_folder(path, for_everybody)?;
        let lock = lock(path)?;
        let socket = open().map_err(|error| error.to_string())?;
        // The file gets the mode of the socket: at no time may it be more.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|error| error.to_string())?;
        let address = SockAddr::unix(path).map_err(|error| error.to_string())?;
        let bound = match socket.bind(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_dead(path, &address)?;
                socket.bind(&address)
            }
            other => other,
        };
        bound.map_err(|error| format!("it cannot be bound: {error}"))?;
        let file = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
        let (device, inode) = (file.dev(), file.ino());
        let this = Self { path: path.to_owned(), device, inode, _lock: lock };
        let listens = || {
            if for_everybody {
                fs::set_permissions(path, Permissions::from_mode(0o666))?;
            }
            socket.listen(BACKLOG)
        };
        listens().map_err(|error| error.to_string())?;
        Ok((this, socket))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |file: fs::Metadata| (file.dev(), file.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // Whoever removed it meanwhile has done what we want.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::SEQPACKET.nonblocking().cloexec(), None)
}

/// Makes the folder of `path`, if the one above is there.
fn make_folder(path: &Path, for_everybody: bool) -> Result<(), String> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mode = if for_everybody { 0o755 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(folder) {
        // Whatever the umask is.
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // The error that matters is that of what comes next.
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| format!("the folder {} cannot be made: {error}", folder.display()))
}

/// One daemon for a path.
fn lock(path: &Path) -> Result<Flock<File>, String> {
    let mut lock = OsString::from(path);
    lock.push(".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = options.open(&lock);
    let file = file.map_err(|error| format!("{} cannot be opened: {error}", lock.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => "another vmsgrd serves applications there".to_owned(),
        error => format!("{} cannot be locked: {error}", lock.display()),
    })
}

/// Removes what is at `path` if it is the socket of a process that is gone.
fn remove_dead(path: &Path, address: &SockAddr) -> Result<(), String> {
    let file = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !file.file_type().is_socket() {
        return Err("it is there and is not a socket".to_owned());
    }
    // The only way to learn whether somebody listens.
    let tried = open().and_then(|socket| socket.connect(address));
    match tried.map_err(|error| (error.raw_os_error().map(Errno::from_raw), error)) {
        Err((Some(Errno::ECONNREFUSED), _)) => fs::remove_file(path)
            .map_err(|error| format!("the socket of a dead daemon cannot be removed: {error}")),
        // EAGAIN: its backlog is full.
        Ok(()) | Err((Some(Errno::EAGAIN), _)) => Err("another process listens there".to_owned()),
        Err((Some(Errno::EPROTOTYPE), _)) => {
            Err("another process has a socket of another kind there".to_owned())
        }
        Err((_, error)) => Err(format!("a socket is there that cannot be asked: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn refused(path: &Path) -> String {
        SocketFile::bind(path, false).map(drop).unwrap_err()
    }

    fn connects(path: &Path) -> bool {
        open().unwrap().connect(&SockAddr::unix(path).unwrap()).is_ok()
    }

    #[test]
    fn the_socket_and_its_folder_are_for_those_who_may_attach() {
        for (for_everybody, folder_mode, socket_mode) in
            [(false, 0o700, 0o600), (true, 0o755, 0o666)]
        {
            let above = folder();
            let path = above.path().join("vmsgr/s");
            let (file, _socket) = SocketFile::bind(&path, for_everybody).unwrap();
            assert_eq!(mode(path.parent().unwrap()), folder_mode);
            assert_eq!(mode(&path), socket_mode);
            assert!(connects(&path));
            drop(file);
            assert!(!path.exists());
        }
        let above = folder();
        let before = mode(above.path());
        let _bound = SocketFile::bind(&above.path().join("s"), true).unwrap();
        assert_eq!(mode(above.path()), before, "a folder that was there is left as it is");
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced() {
        let folder = folder();
        let path = folder.path().join("s");
        let (file, socket) = SocketFile::bind(&path, false).unwrap();
        // A process that dies removes nothing, but its lock and its socket are gone.
        drop(Socket::from(std::os::fd::OwnedFd::from(socket)));
        fs::rename(&path, folder.path().join("kept")).unwrap();
        drop(file);
        fs::rename(folder.path().join("kept"), &path).unwrap();
        assert!(!connects(&path));
        let _bound = SocketFile::bind(&path, false).unwrap();
        assert!(connects(&path));
    }

    #[test]
    fn one_that_lives_is_not_disturbed() {
        let folder = folder();
        let path = folder.path().join("s");
        let bound = SocketFile::bind(&path, false).unwrap();
        assert_eq!(refused(&path), "another vmsgrd serves applications there");
        // Also when it is no vmsgrd's, which knows of no lock.
        fs::remove_file(folder.path().join("s.lock")).unwrap();
        assert_eq!(refused(&path), "another process listens there");
        assert!(connects(&path));
        drop(bound);

        let _stream = UnixListener::bind(&path).unwrap();
        assert_eq!(refused(&path), "another process has a socket of another kind there");
        assert!(path.exists());
    }

    #[test]
    fn what_is_not_a_socket_stays() {
        let folder = folder();
        let path = folder.path().join("s");
        fs::write(&path, "precious").unwrap();
        assert_eq!(refused(&path), "it is there and is not a socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        // A link is not followed either.
        let link = folder.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(refused(&link), "it is there and is not a socket");
        let folder = folder.path().join("no/such/s");
        assert!(refused(&folder).contains("no/such cannot be made: "), "{}", refused(&folder));
    }

    #[test]
    fn the_file_of_a_successor_is_not_removed() {
        let folder = folder();
        let path = folder.path().join("s");
        let (file, _socket) = SocketFile::bind(&path, false).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
