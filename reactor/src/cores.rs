//! Which cores the loops run on, and pinning a thread to one of them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A set of cores, at least one, each of which this process may use.
///
/// Written as a hexadecimal mask (`0x3`: cores 0 and 1), as a list of cores and ranges (`0-1,4`),
/// or as `all`: every core that this process may use (its scheduling affinity, as `taskset` or a
/// cgroup set it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreMask {
    /// Ascending, without duplicates, never empty.
    cores: Vec<usize>,
}

/// Why a core mask was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreMaskError {
    /// The text is none of the three forms.
    #[error("core mask '{0}' is not a mask like 0x3, a list like 0-1,4, or 'all'")]
    Syntax(String),
    /// The mask names no core at all.
    #[error("core mask '{0}' is empty; it must name at least one of the cores {1}")]
    Empty(String, String),
    /// The mask names a core that does not exist or that this process may not use.
    #[error("core {core} is not one that this process may use; it may use {usable}")]
    Unusable {
        /// The first core that was refused.
        core: usize,
        /// The cores that could have been named, as a list.
        usable: String,
    },
    /// The kernel did not say which cores this process may use.
    #[error("the cores that this process may use could not be read")]
    Unknown,
}

impl CoreMask {
    /// Checks `cores` against those that this process may use.
    pub fn new(cores: impl IntoIterator<Item = usize>) -> Result<Self, CoreMaskError> {
        Self::checked(cores.into_iter().collect(), &usable_cores()?, "")
    }

    /// Every core that this process may use.
    pub fn all() -> Result<Self, CoreMaskError> {
        Ok(Self { cores: usable_cores()? })
    }

    /// The first core that this process may use.
    pub fn first() -> Result<Self, CoreMaskError> {
        Ok(Self { cores: usable_cores()?[..1].to_vec() })
    }

    /// The cores, ascending.
    pub fn cores(&self) -> &[usize] {
        &self.cores
    }

    fn checked(
        cores: BTreeSet<usize>,
        usable: &[usize],
        text: &str,
    ) -> Result<Self, CoreMaskError> {
        if let Some(&core) = cores.iter().find(|core| !usable.contains(core)) {
            return Err(CoreMaskError::Unusable { core, usable: list(usable) });
        }
        if cores.is_empty() {
            return Err(CoreMaskError::Empty(text.to_owned(), list(usable)));
        }
        Ok(Self { cores: cores.into_iter().collect() })
    }

    fn parse(text: &str, usable: &[usize]) -> Result<Self, CoreMaskError> {
        if text == "all" {
            return Ok(Self { cores: usable.to_vec() });
        }
        let syntax = || CoreMaskError::Syntax(text.to_owned());
        if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            return Self::checked(bits(digits).ok_or_else(syntax)?, usable, text);
        }
        let mut cores = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = number(first).ok_or_else(syntax)?;
            let last: usize = number(last).ok_or_else(syntax)?;
            if first > last {
                return Err(syntax());
            }
            // The check comes before the range is spelled out: 0-99999999999 names its first
            // unusable core instead of filling memory.
            if let Some(core) = (first..=last).find(|core| !usable.contains(core)) {
                return Err(CoreMaskError::Unusable { core, usable: list(usable) });
            }
            cores.extend(first..=last);
        }
        Self::checked(cores, usable, text)
    }
}

impl FromStr for CoreMask {
    type Err = CoreMaskError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.trim(), &usable_cores()?)
    }
}

impl fmt::Display for CoreMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(&self.cores))
    }
}

/// Pins the calling thread to `core`; false if the kernel refuses.
pub fn pin_current_thread(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

fn usable_cores() -> Result<Vec<usize>, CoreMaskError> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|c| c.id).collect();
    cores.sort_unstable();
    if cores.is_empty() { Err(CoreMaskError::Unknown) } else { Ok(cores) }
}

/// Digits only: `usize::from_str` would also take a `+`.
fn number(text: &str) -> Option<usize> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The positions of the set bits of a hexadecimal number of any length.
fn bits(digits: &str) -> Option<BTreeSet<usize>> {
    if digits.is_empty() || digits.len() > 256 {
        return None;
    }
    let mut cores = BTreeSet::new();
    for (position, digit) in digits.chars().rev().enumerate() {
        let value = digit.to_digit(16)?;
        cores.extend((0..4).filter(|bit| value & (1 << bit) != 0).map(|bit| position * 4 + bit));
    }
    Some(cores)
}

/// `[0, 1, 2, 4]` as `0-2,4`.
fn list(cores: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    let texts = ranges.into_iter().map(|(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const USABLE: &[usize] = &[0, 1, 2, 4, 64];

    fn parse(text: &str) -> Result<Vec<usize>, CoreMaskError> {
        CoreMask::parse(text, USABLE).map(|mask| mask.cores)
    }

    #[test]
    fn masks_lists_and_all_name_the_same_cores() {
        assert_eq!(parse("0x3").unwrap(), [0, 1]);
        assert_eq!(parse("0X17").unwrap(), [0, 1, 2, 4]);
        assert_eq!(parse("0x10000000000000001").unwrap(), [0, 64]);
        assert_eq!(parse("0-1,4").unwrap(), [0, 1, 4]);
        assert_eq!(parse("4,0,0-1").unwrap(), [0, 1, 4]);
        assert_eq!(parse("all").unwrap(), USABLE);
    }

    #[test]
    fn a_core_that_may_not_be_used_is_named_with_those_that_may() {
        let error = parse("0-3").unwrap_err();
        assert_eq!(error, CoreMaskError::Unusable { core: 3, usable: "0-2,4,64".into() });
        assert!(error.to_string().contains("may use 0-2,4,64"));
        assert!(matches!(parse("0x8"), Err(CoreMaskError::Unusable { core: 3, .. })));
        assert!(matches!(parse("0-18446744073709551615"), Err(CoreMaskError::Unusable { .. })));
    }

    #[test]
    fn nonsense_and_emptiness_are_refused() {
        assert!(matches!(parse("0x0"), Err(CoreMaskError::Empty(..))));
        for text in ["", "0x", "0xg", "1-0", "a", "0,", "-1", "+1", "0--1", "1.5", "ALL"] {
            assert!(matches!(parse(text), Err(CoreMaskError::Syntax(_))), "{text:?}");
        }
    }

    #[test]
    fn display_is_a_list_that_parses_back() {
        let mask = CoreMask::parse("0x17", USABLE).unwrap();
        assert_eq!(mask.to_string(), "0-2,4");
        assert_eq!(CoreMask::parse(&mask.to_string(), USABLE).unwrap(), mask);
    }

    #[test]
    fn a_pinned_thread_stays_on_its_core() {
        let core = CoreMask::first().unwrap().cores()[0];
        let ids = std::thread::spawn(move || {
            assert!(pin_current_thread(core));
            usable_cores().unwrap()
        });
        assert_eq!(ids.join().unwrap(), [core]);
    }
}
