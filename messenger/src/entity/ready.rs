//! Entities with events that nobody has heeded: those, and no others, are looked at.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::EntityId;

/// The entities of a core that have something.
#[derive(Debug, Clone, Default)]
pub(super) struct Ready(Rc<RefCell<Vec<EntityId>>>);

/// By which one entity says that it has something.
#[derive(Debug, Clone)]
pub(super) struct Sign(Rc<Raised>);

#[derive(Debug)]
struct Raised {
    ready: Ready,
    /// Known once the entity has its place.
    id: Cell<Option<EntityId>>,
    raised: Cell<bool>,
}

impl Ready {
    pub(super) fn sign(&self) -> Sign {
        let (id, raised) = Default::default();
        Sign(Rc::new(Raised { ready: self.clone(), id, raised }))
    }

    /// Whether one of them is such.
    pub(super) fn any(&self, is: impl Fn(&EntityId) -> bool) -> bool {
        self.0.borrow().iter().any(is)
    }

    pub(super) fn take(&self) -> Vec<EntityId> {
        self.0.take()
    }
}

impl Sign {
    pub(super) fn belongs_to(&self, id: EntityId) {
        self.0.id.set(Some(id));
    }

    /// It has something, and is in the list once.
    pub(super) fn raise(&self) {
        if let Some(id) = self.0.id.get()
            && !self.0.raised.replace(true)
        {
            self.0.ready.0.borrow_mut().push(id);
        }
    }

    /// It is being looked at.
    pub(super) fn lower(&self) {
        self.0.raised.set(false);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.raised.get()
    }
}
