//! What the man page says beyond the help.

use crate::generate::Manual;

/// The tool's.
pub const MANUAL: Manual = Manual {
    section: "1",
    sections: "\
Exit codes:
  0  done
  2  bad command line
  1, 3, 4  as the subcommand says, above

See also:
  vmsgrd(8)  the daemon
  tcpdump(8)  makes captures",
};
