//! The atomics of the segment: the standard library's, or loom's when they are model-checked.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Orders what this process wrote before against what it reads after, for both processes alike:
/// see the reactor's fence of the same name. `--cfg vmsgr_weak_fence` weakens it, so that the
/// models can show that they would notice.
pub(crate) fn full_fence() {
    fence(if cfg!(vmsgr_weak_fence) { Ordering::AcqRel } else { Ordering::SeqCst });
}
