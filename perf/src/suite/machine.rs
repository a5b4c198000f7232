//! What the figures were taken on, so that they can be read later, and taken again.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

/// Found out by `build.rs`.
const COMMIT: &str = env!("VMSGR_COMMIT");

/// The machine, the kernel and the source. What cannot be found out is `unknown`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Runs under a hypervisor.
    pub virtual_machine: bool,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// Release of the kernel.
    pub kernel: String,
    /// Commit that this program was built of, with a `+` when there were changes on top of it.
    pub commit: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let flags = field(&cpuinfo, "flags").unwrap_or_default();
        Self {
            processor: known(field(&cpuinfo, "model name").unwrap_or_default()),
            cores: core_affinity::get_core_ids().map_or(0, |cores| cores.len()),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
            memory_gib: memory_gib(&meminfo).unwrap_or(0.0),
            kernel: known(kernel.trim()),
            commit: COMMIT.into(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.virtual_machine { "virtual" } else { "bare" };
        write!(
            f,
            "machine: {}, {} cores ({kind}), {:.1} GiB, Linux {}",
            self.processor, self.cores, self.memory_gib, self.kernel
        )
    }
}

fn known(text: &str) -> String {
    if text.is_empty() { "unknown".into() } else { text.into() }
}

/// Value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn memory_gib(meminfo: &str) -> Option<f64> {
    let kib: f64 = field(meminfo, "MemTotal")?.strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU: fast\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(cpuinfo, "model name"), Some("A CPU: fast"));
        assert_eq!(field(cpuinfo, "bugs"), None);
        assert_eq!(memory_gib("MemTotal:        8388608 kB\n"), Some(8.0));
        assert_eq!(memory_gib(""), None);
    }
}
