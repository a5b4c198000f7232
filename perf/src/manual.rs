//! What the man page says beyond the help.

use crate::generate::Manual;

/// The load generator's.
pub const MANUAL: Manual = Manual {
    section: "1",
    sections: "\
Signals:
  SIGTERM, SIGINT
      end load, osd, suite and spin in order, servers that they have started too; a second one
      at once
  SIGUSR1
      makes serve app-shm, and nothing else, print its counters on stderr

Files:
  results.json  what suite measured: compare and merge read it
  results.md  the same as tables
  index.html  the same with pictures

See also:
  vmsgrd(8)  the daemon
  vmsgrctl(1)  asks Ceph daemons what they are, and counts operations in a capture",
};
