//! The atomics that cores share: the standard library's, or loom's when they are model-checked.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Orders what this thread wrote before against what it reads after, for all threads alike.
///
/// Two sides that each write one thing and then read what the other wrote need it on both sides:
/// with anything less both may read the old value (a store waits in a store buffer while the load
/// after it runs), one sleeps, and the other does not ring. `--cfg vmsgr_weak_fence` weakens it,
/// so that the models can show that they would notice.
pub(crate) fn full_fence() {
    fence(if cfg!(vmsgr_weak_fence) { Ordering::AcqRel } else { Ordering::SeqCst });
}
