//! Where things lie in a segment.

use super::layout::{Control, Header, Lane, Slot, WORDS};

/// Jobs that may wait. A power of two.
pub(crate) const JOBS: usize = 256;

/// Events that may wait. A power of two.
pub(crate) const EVENTS: usize = 256;

/// Slots that a segment may have.
pub(crate) const SLOTS: std::ops::RangeInclusive<u32> = 1..=65_536;

/// Bytes of a ring, a power of two.
pub(crate) const RING_BYTES: std::ops::RangeInclusive<u32> = 4 << 10..=16 << 20;

const PAGE: usize = 4096;
const LINE: usize = 64;

/// The sizes that a segment is made with; all offsets follow from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) cores: u32,
    pub(crate) slots: u32,
    pub(crate) receive_ring_bytes: u32,
    pub(crate) send_ring_bytes: u32,
}

impl Geometry {
    /// `None` if a size is out of its range.
    pub(crate) fn new(
        cores: u32,
        slots: u32,
        receive_ring_bytes: u32,
        send_ring_bytes: u32,
    ) -> Option<Self> {
        let ring = |bytes: u32| RING_BYTES.contains(&bytes) && bytes.is_power_of_two();
        let fits = (1..=1024).contains(&cores)
            && SLOTS.contains(&slots)
            && ring(receive_ring_bytes)
            && ring(send_ring_bytes);
        fits.then_some(Self { cores, slots, receive_ring_bytes, send_ring_bytes })
    }

    /// Entries of a ready ring: a number is in it at most twice, once for the connection that is
    /// in its slot now, and once for the one before.
    pub(crate) fn ready_entries(&self) -> usize {
        (2 * self.slots as usize).next_power_of_two()
    }

    pub(crate) fn control_at(&self) -> usize {
        size_of::<Header>()
    }

    pub(crate) fn jobs_at(&self) -> usize {
        const { assert!(size_of::<Header>() + size_of::<Control>() <= PAGE) };
        PAGE
    }

    pub(crate) fn events_at(&self) -> usize {
        self.jobs_at() + JOBS * WORDS * 8
    }

    fn lanes_at(&self) -> usize {
        self.events_at() + EVENTS * WORDS * 8
    }

    fn lane_bytes(&self) -> usize {
        (size_of::<Lane>() + 2 * 8 * self.ready_entries()).next_multiple_of(LINE)
    }

    pub(crate) fn lane_at(&self, core: usize) -> usize {
        assert!(core < self.cores as usize);
        self.lanes_at() + core * self.lane_bytes()
    }

    /// The ring to the application.
    pub(crate) fn up_at(&self, core: usize) -> usize {
        self.lane_at(core) + size_of::<Lane>()
    }

    /// The ring to the core.
    pub(crate) fn down_at(&self, core: usize) -> usize {
        self.up_at(core) + 8 * self.ready_entries()
    }

    fn slots_at(&self) -> usize {
        (self.lanes_at() + self.cores as usize * self.lane_bytes()).next_multiple_of(PAGE)
    }

    pub(crate) fn slot_at(&self, slot: u32) -> usize {
        assert!(slot < self.slots);
        self.slots_at() + slot as usize * size_of::<Slot>()
    }

    fn data_at(&self) -> usize {
        let end = self.slots_at() + self.slots as usize * size_of::<Slot>();
        end.next_multiple_of(PAGE)
    }

    pub(crate) fn receive_ring_at(&self, slot: u32) -> usize {
        assert!(slot < self.slots);
        let both = self.receive_ring_bytes as usize + self.send_ring_bytes as usize;
        self.data_at() + slot as usize * both
    }

    pub(crate) fn send_ring_at(&self, slot: u32) -> usize {
        self.receive_ring_at(slot) + self.receive_ring_bytes as usize
    }

    /// All of it. At most 2 TiB, so it fits.
    pub(crate) fn segment_bytes(&self) -> usize {
        let both = self.receive_ring_bytes as usize + self.send_ring_bytes as usize;
        self.data_at() + self.slots as usize * both
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_offsets_are_those_of_the_document() {
        let geometry = Geometry::new(2, 1024, 64 << 10, 64 << 10).unwrap();
        assert_eq!(geometry.control_at(), 64);
        assert_eq!(geometry.jobs_at(), 4096);
        assert_eq!(geometry.events_at(), 4096 + 16384);
        assert_eq!(geometry.lane_at(0), 4096 + 32768);
        assert_eq!(geometry.up_at(0), 36864 + 320);
        assert_eq!(geometry.down_at(0), 36864 + 320 + 16384);
        assert_eq!(geometry.lane_at(1), 36864 + 33088);
        assert_eq!(geometry.slot_at(0), 106_496);
        assert_eq!(geometry.receive_ring_at(0), 106_496 + 327_680);
        assert_eq!(geometry.send_ring_at(0), 434_176 + 65_536);
        assert_eq!(geometry.segment_bytes(), 434_176 + (128 << 20));
    }

    #[test]
    fn parts_do_not_overlap_and_lines_are_not_shared() {
        for (cores, slots) in [(1, 1), (3, 5), (2, 1000), (1024, 65_536)] {
            let geometry = Geometry::new(cores, slots, 4096, 8192).unwrap();
            let last = cores as usize - 1;
            let after_lanes = geometry.down_at(last) + 8 * geometry.ready_entries();
            assert!(after_lanes <= geometry.slot_at(0));
            assert_eq!(geometry.lane_at(last) % LINE, 0);
            assert_eq!(geometry.slot_at(0) % PAGE, 0);
            let after_slots = geometry.slot_at(slots - 1) + size_of::<Slot>();
            assert!(after_slots <= geometry.receive_ring_at(0));
            assert_eq!(geometry.receive_ring_at(slots - 1) % PAGE, 0);
            assert_eq!(geometry.send_ring_at(slots - 1) + 8192, geometry.segment_bytes());
        }
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let new = Geometry::new;
        assert!(new(1, 0, 4096, 4096).is_none() && new(1, 65_537, 4096, 4096).is_none());
        assert!(new(0, 1, 4096, 4096).is_none() && new(1025, 1, 4096, 4096).is_none());
        assert!(new(1, 1, 2048, 4096).is_none() && new(1, 1, 4096, 5000).is_none());
        assert!(new(1, 1, 32 << 20, 4096).is_none() && new(1, 1, 16 << 20, 4096).is_some());
    }
}
