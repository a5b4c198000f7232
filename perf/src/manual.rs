//! What the man page says beyond the help.

use crate::generate::Manual;

/// The load generator's.
pub const MANUAL: Manual = Manual {
    section: "1",
    sections: "\
Exit codes:
  0  done
  1  failed, or interrupted: nothing was measured, or not all of it
  2  bad command line

Signals:
  SIGTERM, SIGINT
      end load, osd, suite and spin in order, servers that they have started too; a second one at once
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
