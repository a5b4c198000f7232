//! What has happened to a session and its application is still to be told.

use crate::shm::part::Notice;

/// Notices that nothing lies between. However many there were, it is no more than this.
#[derive(Debug, Default)]
pub(super) struct Notices {
    forgotten: Option<u64>,
    /// The stream came back, or was lost, since the application was told.
    stream: Option<bool>,
}

impl Notices {
    pub(super) fn add(&mut self, notice: Notice) {
        match notice {
            Notice::Forgotten { lost } => {
                self.forgotten = Some(self.forgotten.unwrap_or(0).saturating_add(lost));
            }
            // Back before anybody knew that it was lost.
            Notice::StreamBack if self.stream == Some(false) => self.stream = None,
            Notice::StreamLost if self.stream == Some(true) => self.stream = None,
            Notice::StreamBack => self.stream = Some(true),
            Notice::StreamLost => self.stream = Some(false),
        }
    }

    pub(super) fn first(&self) -> Option<Notice> {
        match (self.forgotten, self.stream) {
            (Some(lost), _) => Some(Notice::Forgotten { lost }),
            (None, Some(true)) => Some(Notice::StreamBack),
            (None, Some(false)) => Some(Notice::StreamLost),
            (None, None) => None,
        }
    }

    pub(super) fn told(&mut self) {
        if self.forgotten.take().is_none() {
            self.stream = None;
        }
    }
}
