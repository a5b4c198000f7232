//! What an application says of keepalives: when its sessions ask a silent peer whether it is there.

use std::time::Duration;

use super::entity_error::EntityError;
use crate::msgr2::Keepalive;

/// Either time, in milliseconds: more often is a load, and later is as good as never.
const LEAST_MS: u64 = 100;
const MOST_MS: u64 = 24 * 60 * 60 * 1000;

/// Either time has so many bits.
const BITS: u32 = 28;
const MASK: u64 = (1 << BITS) - 1;

/// Keepalives of an entity's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Keepalives {
    /// As the daemon thinks right.
    #[default]
    Usual,
    /// None that the daemon does not need itself.
    Never,
    /// Like this; whole milliseconds.
    After(Keepalive),
}

impl Keepalives {
    /// # Errors
    /// A time is out of its range.
    pub(super) fn check(&self) -> Result<(), EntityError> {
        let Self::After(Keepalive { after, patience }) = *self else { return Ok(()) };
        let range = Duration::from_millis(LEAST_MS)..=Duration::from_millis(MOST_MS);
        match range.contains(&after) && range.contains(&patience) {
            true => Ok(()),
            false => Err(EntityError::Keepalive { after, patience }),
        }
    }

    /// Its bits, times rounded up; it was checked.
    pub(super) fn to_bits(self) -> u64 {
        let ms = |time: Duration| time.as_nanos().div_ceil(1_000_000) as u64 & MASK;
        match self {
            Self::Usual => 0,
            Self::Never => MASK << BITS | MASK,
            Self::After(Keepalive { after, patience }) => ms(patience) << BITS | ms(after),
        }
    }

    /// What an application has written, to be checked.
    pub(super) fn from_bits(bits: u64) -> Self {
        match (bits & MASK, bits >> BITS) {
            (0, 0) => Self::Usual,
            (MASK, MASK) => Self::Never,
            (after, patience) => Self::After(Keepalive {
                after: Duration::from_millis(after),
                patience: Duration::from_millis(patience),
            }),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn after(after_us: u64, patience_us: u64) -> Keepalives {
        let (after, patience) =
            (Duration::from_micros(after_us), Duration::from_micros(patience_us));
        Keepalives::After(Keepalive { after, patience })
    }

    #[test]
    fn bits_say_what_was_put_into_them_in_whole_milliseconds() {
        const DAY: u64 = MOST_MS * 1000;
        for said in [Keepalives::Usual, Keepalives::Never, after(100_000, DAY), after(DAY, 100_000)]
        {
            assert_eq!(said.check(), Ok(()));
            assert_eq!(Keepalives::from_bits(said.to_bits()), said);
            assert!(said.to_bits() < 1 << 56);
        }
        let rounded = after(100_001, 200_999).to_bits();
        assert_eq!(Keepalives::from_bits(rounded), after(101_000, 201_000), "up");
    }

    #[test]
    fn times_out_of_their_range_are_refused() {
        const DAY: u64 = MOST_MS * 1000;
        for (out, within) in [(0, DAY), (99_999, 100_000), (DAY + 1, 100_000)] {
            for (a, b) in [(out, within), (within, out)] {
                let (after_us, patience_us) = (Duration::from_micros(a), Duration::from_micros(b));
                let refused = EntityError::Keepalive { after: after_us, patience: patience_us };
                assert_eq!(after(a, b).check(), Err(refused));
            }
        }
        for bits in [1, 1 << BITS, MASK, 1 << 63, u64::MAX, 99 << BITS | 100] {
            assert!(Keepalives::from_bits(bits).check().is_err(), "{bits:#x}");
        }
    }
}
