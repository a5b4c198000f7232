//! What the man page says beyond the help.

use crate::generate::Manual;

/// The daemon's.
pub const MANUAL: Manual = Manual {
    section: "8",
    sections: "\
Environment:
  XDG_RUNTIME_DIR
      Where the socket for applications is by default, below
  NOTIFY_SOCKET
      Where a service manager is told that the daemon is ready, and that it stops (sd_notify(3))
  JOURNAL_STREAM
      Set by a service manager: if stderr is the journal, log lines carry its priorities

Files:
  /etc/vmsgrd.toml
      The configuration where the systemd unit starts the daemon; otherwise what --config names, and
      nothing is read if nothing is named. vmsgrd.example.toml has every key with its range, unit
      and default
  $XDG_RUNTIME_DIR/vmsgr/vmsgrd.sock
      Where applications attach
  /run/vmsgr/vmsgrd.sock
      The same, without XDG_RUNTIME_DIR
  vmsgrd.sock.lock
      Beside the socket: locked while a daemon lives; it stays when that has gone

See also:
  vmsgrctl(1)  asks Ceph daemons what they are, and counts operations in a capture
  vmsgr-bench(1)  puts a load on the daemon and measures it",
};
