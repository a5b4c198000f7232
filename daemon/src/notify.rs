//! Tells the service manager how far the daemon is (sd_notify(3)); does nothing without one.

use log::warn;
use sd_notify::NotifyState;

/// All listeners accept.
pub fn ready() {
    send(&NotifyState::Ready);
}

/// The daemon drains its connections and is going to exit.
pub fn stopping() {
    send(&NotifyState::Stopping);
}

/// A manager that cannot be reached is no reason to stop serving; it is one to say so, since it
/// will end the daemon when it has waited long enough.
fn send(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        warn!("the service manager (NOTIFY_SOCKET) could not be told {state}: {error}");
    }
}
