//! An application as all threads of the daemon know it.

use vmsgr_reactor::Doorbell;

use super::allowance::Allowance;
use super::pool::SlotPool;
use crate::ids::ApplicationId;
use crate::shm::segment::Segment;

/// One application: what is shared about it.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) id: ApplicationId,
    pub(crate) segment: Segment,
    pub(crate) slots: SlotPool,
    /// What may be held for it outside its segment.
    pub(crate) allowance: Allowance,
    /// Wakes it. The descriptor stays with the daemon; see docs/SHM.md.
    pub(crate) doorbell: Doorbell,
}

impl Application {
    /// It sleeps, and did so on this processor, as far as it says.
    pub(crate) fn is_asleep_on(&self, processor: u32) -> bool {
        self.segment.control().application.0.is_asleep_on(processor)
    }

    /// Wakes the application if it sleeps, after something was published to it and a full fence;
    /// whether it slept.
    pub(crate) fn rouse(&self) -> bool {
        let sleeps = self.segment.control().application.0.rouse();
        if sleeps {
            self.doorbell.ring();
        }
        sleeps
    }
}
