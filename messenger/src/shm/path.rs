//! Where the daemon's socket lies when nobody says anything else.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket, without the zero at its end (unix(7)).
pub const MAX_PATH_BYTES: usize = 107;

const BELOW: &str = "vmsgr/vmsgrd.sock";

/// Where a daemon puts its socket: `$XDG_RUNTIME_DIR/vmsgr/vmsgrd.sock` or, where that variable
/// names no folder, `/run/vmsgr/vmsgrd.sock`.
pub fn default_path() -> PathBuf {
    candidates(env::var_os("XDG_RUNTIME_DIR")).swap_remove(0)
}

/// Where an application looks for a daemon, in this order: where one of its own user's would be,
/// then where the system's is.
pub fn default_paths() -> Vec<PathBuf> {
    candidates(env::var_os("XDG_RUNTIME_DIR"))
}

fn candidates(runtime_folder: Option<OsString>) -> Vec<PathBuf> {
    let runtime_folder = runtime_folder.map(PathBuf::from);
    // The XDG base directory specification has relative ones ignored.
    let own = runtime_folder.filter(|folder| folder.is_absolute());
    let folders = own.into_iter().chain([Path::new("/run").to_owned()]);
    folders.map(|folder| folder.join(BELOW)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_folder_comes_first() {
        let system = PathBuf::from("/run/vmsgr/vmsgrd.sock");
        let own = PathBuf::from("/run/user/7/vmsgr/vmsgrd.sock");
        assert_eq!(candidates(Some("/run/user/7".into())), [own, system.clone()]);
        for none in [None, Some("".into()), Some("run".into())] {
            assert_eq!(candidates(none), std::slice::from_ref(&system));
        }
        assert_eq!(default_path(), default_paths()[0]);
    }
}
