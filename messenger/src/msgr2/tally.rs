//! What several sessions hold together.

use std::cell::Cell;
use std::rc::Rc;

/// Counts the bytes of messages that wait to be sent or acknowledged, of all endpoints whose
/// [configurations](super::Config::tally) share it, and whatever else its owner adds.
#[derive(Debug, Clone, Default)]
pub struct Tally(Rc<Cell<usize>>);

impl Tally {
    /// So many now.
    pub fn bytes(&self) -> usize {
        self.0.get()
    }

    /// So many more.
    pub fn add(&self, bytes: usize) {
        self.0.set(self.0.get() + bytes);
    }

    /// So many less, which were added.
    pub fn remove(&self, bytes: usize) {
        debug_assert!(bytes <= self.0.get(), "what is removed was added");
        self.0.set(self.0.get().saturating_sub(bytes));
    }
}
