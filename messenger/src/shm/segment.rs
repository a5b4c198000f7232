//! The memory of a segment: made by the daemon, mapped by both sides.
#![allow(unsafe_code)] // Mapping memory, and giving out references to what lies in it.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::byte_ring::ByteRing;
use super::geometry::{EVENTS, Geometry, JOBS};
use super::layout::{Control, Header, Lane, MAGIC, Slot, VERSION, WORDS};
use super::ring::Ring;
use super::sync::{AtomicU64, Ordering};

/// A mapped segment.
#[derive(Debug)]
pub(crate) struct Segment {
    start: NonNull<u8>,
    geometry: Geometry,
}

// SAFETY: what lies in a segment is atomics, which any thread may use, and rings of bytes that are
// given out as raw pieces; a mapping belongs to no thread.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    /// Makes a segment, all zeros but for its header; with a descriptor of its memory. It can be
    /// made neither smaller nor larger by anybody (I8): so it cannot fault whoever has mapped it.
    ///
    /// # Errors
    /// Descriptors, memory or address space have run out.
    pub(crate) fn create(geometry: Geometry) -> io::Result<(Self, OwnedFd)> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory = memfd_create(c"vmsgr", flags)?;
        let bytes = geometry.segment_bytes();
        let file = File::from(memory);
        file.set_len(bytes as u64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
        let this = Self { start: map(&file, bytes)?, geometry };
        this.write_header();
        Ok((this, file.into()))
    }

    /// Says what this is, while nobody is attached.
    fn write_header(&self) {
        let geometry = &self.geometry;
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            cores: geometry.cores,
            slots: geometry.slots,
            receive_ring_bytes: geometry.receive_ring_bytes,
            send_ring_bytes: geometry.send_ring_bytes,
            reserved: 0,
            segment_bytes: geometry.segment_bytes() as u64,
            epoch: AtomicU64::new(0),
        };
        // SAFETY: the header lies at the beginning; whoever reads it does so when it attaches.
        unsafe { self.start.cast::<Header>().write(header) };
    }

    /// Maps the segment that the daemon has sent.
    ///
    /// # Errors
    /// It cannot be mapped, or is not a segment of this version.
    pub(crate) fn open(memory: &OwnedFd) -> io::Result<Self> {
        let file = File::from(memory.try_clone()?);
        let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if bytes < size_of::<Header>() {
            return Err(wrong("what the daemon sent is too small for a segment"));
        }
        let start = map(&file, bytes)?;
        // SAFETY: mapped, large enough, aligned to a page, and valid for any bit pattern; its plain
        // fields are not written any more.
        let header = unsafe { start.cast::<Header>().as_ref() };
        let fits = |geometry: &Geometry| geometry.segment_bytes() == bytes;
        let geometry = (header.magic == MAGIC && header.version == VERSION)
            .then(|| {
                let Header { cores, slots, receive_ring_bytes, send_ring_bytes, .. } = *header;
                Geometry::new(cores, slots, receive_ring_bytes, send_ring_bytes)
            })
            .flatten()
            .filter(fits);
        match geometry {
            Some(geometry) => Ok(Self { start, geometry }),
            None => {
                unmap(start, bytes);
                Err(wrong("the daemon's segment is of another version"))
            }
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Any word, for who writes where nothing of it is to be written.
    #[cfg(test)]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.geometry.segment_bytes() / size_of::<AtomicU64>());
        // SAFETY: within the segment, and aligned as it is.
        unsafe { self.at(index * size_of::<AtomicU64>()) }
    }

    /// # Safety
    /// A `T` lies at `offset`: one of atomics, aligned, wholly within the segment.
    unsafe fn at<T>(&self, offset: usize) -> &T {
        debug_assert!(offset + size_of::<T>() <= self.geometry.segment_bytes());
        debug_assert_eq!(offset % align_of::<T>(), 0);
        // SAFETY: mapped for as long as `self` lives; what the caller promises is what remains.
        unsafe { self.start.add(offset).cast().as_ref() }
    }

    /// # Safety
    /// As for [`at`](Self::at), `len` times.
    unsafe fn slice_at<T>(&self, offset: usize, len: usize) -> &[T] {
        debug_assert!(offset + len * size_of::<T>() <= self.geometry.segment_bytes());
        debug_assert_eq!(offset % align_of::<T>(), 0);
        // SAFETY: as in `at`.
        unsafe { std::slice::from_raw_parts(self.start.add(offset).cast().as_ptr(), len) }
    }

    pub(crate) fn epoch(&self) -> &AtomicU64 {
        // SAFETY: the header lies at 0. Only the atomic is given out: the rest of it may be spoilt
        // by an application, and the daemon does not look at it again.
        unsafe { &self.at::<Header>(0).epoch }
    }

    pub(crate) fn control(&self) -> &Control {
        // SAFETY: the geometry puts it there.
        unsafe { self.at(self.geometry.control_at()) }
    }

    /// Jobs of the application.
    pub(crate) fn jobs(&self) -> Ring<'_, WORDS> {
        let control = self.control();
        let (pushed, taken) = (&control.jobs_pushed.0, &control.jobs_taken.0);
        // SAFETY: the geometry puts so many there.
        let entries = unsafe { self.slice_at(self.geometry.jobs_at(), JOBS) };
        Ring { pushed, taken, entries }
    }

    /// Events of the daemon.
    pub(crate) fn events(&self) -> Ring<'_, WORDS> {
        let control = self.control();
        let (pushed, taken) = (&control.events_pushed.0, &control.events_taken.0);
        // SAFETY: the geometry puts so many there.
        let entries = unsafe { self.slice_at(self.geometry.events_at(), EVENTS) };
        Ring { pushed, taken, entries }
    }

    /// # Panics
    /// If there is no such core.
    pub(crate) fn lane(&self, core: usize) -> &Lane {
        // SAFETY: the geometry puts it there.
        unsafe { self.at(self.geometry.lane_at(core)) }
    }

    /// Slots with something new for the application.
    pub(crate) fn up(&self, core: usize) -> Ring<'_, 1> {
        let lane = self.lane(core);
        let (at, len) = (self.geometry.up_at(core), self.geometry.ready_entries());
        // SAFETY: the geometry puts so many there.
        let entries = unsafe { self.slice_at(at, len) };
        Ring { pushed: &lane.up_pushed.0, taken: &lane.up_taken.0, entries }
    }

    /// Slots with something new for the core.
    pub(crate) fn down(&self, core: usize) -> Ring<'_, 1> {
        let lane = self.lane(core);
        let (at, len) = (self.geometry.down_at(core), self.geometry.ready_entries());
        // SAFETY: the geometry puts so many there.
        let entries = unsafe { self.slice_at(at, len) };
        Ring { pushed: &lane.down_pushed.0, taken: &lane.down_taken.0, entries }
    }

    /// # Panics
    /// If there is no such slot.
    pub(crate) fn slot(&self, slot: u32) -> &Slot {
        // SAFETY: the geometry puts it there.
        unsafe { self.at(self.geometry.slot_at(slot)) }
    }

    /// # Panics
    /// If there is no such slot.
    pub(crate) fn receive_ring(&self, slot: u32) -> ByteRing<'_> {
        let at = self.geometry.receive_ring_at(slot);
        // SAFETY: the geometry puts so many bytes there, and its sizes are powers of two.
        unsafe { ByteRing::new(self.start.add(at), self.geometry.receive_ring_bytes) }
    }

    /// # Panics
    /// If there is no such slot.
    pub(crate) fn send_ring(&self, slot: u32) -> ByteRing<'_> {
        let at = self.geometry.send_ring_at(slot);
        // SAFETY: the geometry puts so many bytes there, and its sizes are powers of two.
        unsafe { ByteRing::new(self.start.add(at), self.geometry.send_ring_bytes) }
    }

    /// Empties job and event ring while nobody uses them, and says anew what the segment is:
    /// whoever had it before may have written over that.
    pub(crate) fn reset_control(&self) {
        self.write_header();
        let control = self.control();
        let cursors = [
            &control.jobs_pushed,
            &control.jobs_taken,
            &control.events_pushed,
            &control.events_taken,
        ];
        cursors.iter().for_each(|cursor| cursor.0.store(0, Ordering::Relaxed));
        control.application.0.cancel();
    }

    /// Empties the ready rings of a lane, while nobody uses them.
    pub(crate) fn reset_lane(&self, core: usize) {
        let lane = self.lane(core);
        let cursors = [&lane.up_pushed, &lane.up_taken, &lane.down_pushed, &lane.down_taken];
        cursors.iter().for_each(|cursor| cursor.0.store(0, Ordering::Relaxed));
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        unmap(self.start, self.geometry.segment_bytes());
    }
}

/// Bytes before and behind a mapping that nobody may touch: a page of any size that there is.
const GUARD: usize = 64 << 10;

/// Between two guards, so that nothing of ours lies beside what an application may be wrong about.
fn map(memory: &File, bytes: usize) -> io::Result<NonNull<u8>> {
    let size = |bytes: Option<usize>| {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        bytes.and_then(NonZeroUsize::new).ok_or_else(too_large)
    };
    let (length, all) = (size(Some(bytes))?, size(bytes.checked_add(2 * GUARD))?);
    // SAFETY: a new mapping, at an address of the kernel's choice, over nothing of ours.
    let reserved =
        unsafe { mmap_anonymous(None, all, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE)? };
    // SAFETY: so many bytes behind its beginning are still of it.
    let start = unsafe { reserved.cast::<u8>().add(GUARD) };
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
    // SAFETY: over what was reserved for it a moment ago, and nothing else.
    match unsafe { mmap(Some(start.addr()), length, protection, flags, memory, 0) } {
        Ok(_) => Ok(start),
        Err(error) => {
            unmap(start, bytes);
            Err(error.into())
        }
    }
}

fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: mapped by `map` with this length, between its guards, and nobody has a reference into
    // it any more.
    if let Err(error) = unsafe { munmap(start.sub(GUARD).cast(), bytes + 2 * GUARD) } {
        log::error!("a segment cannot be unmapped: {error}");
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_same_and_nobody_can_resize_it() {
        let geometry = Geometry::new(2, 10, 4096, 8192).unwrap();
        let (ours, memory) = Segment::create(geometry).unwrap();
        let theirs = Segment::open(&memory).unwrap();
        assert_eq!(theirs.geometry(), &geometry);
        theirs.slot(9).of_application.committed.store(77, Ordering::Relaxed);
        assert_eq!(ours.slot(9).of_application.committed.load(Ordering::Relaxed), 77);
        ours.send_ring(9).pieces(8191, 2).iter().for_each(|piece| piece.copy_from(b"x"));
        let mut read = [0; 1];
        theirs.send_ring(9).pieces(0, 1)[0].copy_to(&mut read);
        assert_eq!(&read, b"x");
        let file = File::from(memory.try_clone().unwrap());
        assert!(file.set_len(0).is_err() && file.set_len(1 << 40).is_err());
    }

    #[test]
    fn nothing_lies_beside_a_segment_that_could_be_read() {
        let geometry = Geometry::new(1, 1, 4096, 4096).unwrap();
        let (ours, _memory) = Segment::create(geometry).unwrap();
        let start = ours.start.addr().get();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        for address in [start - 1, start - GUARD, start + geometry.segment_bytes() + GUARD - 1] {
            let line = maps.lines().find(|line| {
                let (from, rest) = line.split_once('-').unwrap();
                let to = rest.split_once(' ').unwrap().0;
                let [from, to] = [from, to].map(|it| usize::from_str_radix(it, 16).unwrap());
                (from..to).contains(&address)
            });
            assert!(line.is_some_and(|line| line.contains(" ---p ")), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_segment_is_refused() {
        let geometry = Geometry::new(1, 1, 4096, 4096).unwrap();
        let (_ours, memory) = Segment::create(geometry).unwrap();
        let file = File::from(memory.try_clone().unwrap());
        use std::os::unix::fs::FileExt;
        file.write_at(&[9], 8).unwrap();
        assert!(Segment::open(&memory).unwrap_err().to_string().contains("version"));
        let empty = memfd_create(c"empty", MFdFlags::empty()).unwrap();
        assert!(Segment::open(&empty).is_err());
    }
}
