//! Who sleeps says so; who brings work rings only for a sleeper.

use crate::sync::{AtomicBool, Ordering, full_fence};

/// A loop's declaration that it is going to sleep.
///
/// The loop: [`declare`](Self::declare), look at every source once more, then sleep, then
/// [`cancel`](Self::cancel). Who has put something where the loop looks: [`rouse`](Self::rouse),
/// and ring the doorbell if it says so. The fences make sure that either the loop sees the work,
/// or the other sees the declaration; and `rouse` says yes to one caller per sleep.
#[derive(Debug)]
pub struct SleepFlag {
    /// Set by the owner (relaxed, then a full fence). Cleared by the owner or by the one who will
    /// ring. Read by everyone after a full fence.
    asleep: AtomicBool,
}

impl SleepFlag {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// The owner is going to sleep. It must look at all its sources again after this.
    pub fn declare(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        full_fence();
    }

    /// The owner is awake.
    pub fn cancel(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Work has been published; true if the owner sleeps and the caller has to ring.
    pub fn rouse(&self) -> bool {
        full_fence();
        // The load keeps the flag's line shared while the owner is awake, which it mostly is.
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}
