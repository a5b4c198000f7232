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
    /// How the kernel decides when what was written is sent: some do with timers, on loopback, too.
    #[serde(default = "unknown")]
    pub congestion_control: String,
    /// Commit that this program was built of, with a `+` when there were changes on top of it.
    pub commit: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let congestion_control =
            fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
        let flags = field(&cpuinfo, "flags").unwrap_or_default();
        Self {
            processor: known(field(&cpuinfo, "model name").unwrap_or_default()),
            cores: core_affinity::get_core_ids().map_or(0, |cores| cores.len()),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
            memory_gib: memory_gib(&meminfo).unwrap_or(0.0),
            kernel: known(kernel.trim()),
            congestion_control: known(congestion_control.trim()),
            commit: COMMIT.into(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.virtual_machine { "virtual" } else { "bare" };
        write!(
            f,
            "machine: {}, {} cores ({kind}), {:.1} GiB, Linux {}, congestion control {}",
            self.processor, self.cores, self.memory_gib, self.kernel, self.congestion_control
        )
    }
}

fn known(text: &str) -> String {
    if text.is_empty() { unknown() } else { text.into() }
}

fn unknown() -> String {
    "unknown".into()
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

    #[test]
    fn older_results_do_not_say_how_the_kernel_sends() {
        let mut value =
            serde_json::to_value(Machine::here()).expect("it has only strings and numbers");
        let known = value["congestion_control"].take();
        let available = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
        let available = available.expect("every kernel with TCP has it");
        assert!(available.split_whitespace().any(|it| known == it), "{known}: none of {available}");
        value.as_object_mut().expect("it has fields").remove("congestion_control");
        let machine: Machine = serde_json::from_value(value).expect("only that is missing");
        assert!(machine.to_string().ends_with(", congestion control unknown"), "{machine}");
    }
}
