//! Consuming and committing as one step: it has happened wholly or not at all, whenever the
//! application dies.

use super::layout::OfApplication;
use super::sync::Ordering;

/// The application's side: `consumed` and `committed` become these.
///
/// Each store is a release, so that they happen in this order: who finds the intent finds what was
/// intended, and who finds a new position finds the intent, or everything done.
pub(crate) fn reply(of_application: &OfApplication, consumed: u64, committed: u64) {
    of_application.intent_consumed.store(consumed, Ordering::Release);
    of_application.intent_committed.store(committed, Ordering::Release);
    of_application.intent.store(1, Ordering::Release);
    of_application.committed.store(committed, Ordering::Release);
    of_application.consumed.store(consumed, Ordering::Release);
    of_application.intent.store(0, Ordering::Release);
}

/// Completes a reply that was begun, while nobody makes one. To do it twice does no harm.
pub(crate) fn complete(of_application: &OfApplication) {
    if of_application.intent.load(Ordering::Acquire) != 0 {
        let consumed = of_application.intent_consumed.load(Ordering::Relaxed);
        let committed = of_application.intent_committed.load(Ordering::Relaxed);
        of_application.committed.store(committed, Ordering::Release);
        of_application.consumed.store(consumed, Ordering::Release);
        of_application.intent.store(0, Ordering::Release);
    }
}
