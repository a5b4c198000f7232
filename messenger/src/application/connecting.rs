//! Sessions that applications ask for: they are begun, take their time, and are given up.

use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;

use super::conduit::Conduit;
use super::endpoints::Reserved;
use super::lane::Held;
use super::session::Session;
use crate::connection::Role;
use crate::ending::Ending;
use crate::ids::ApplicationId;
use crate::message::ConnectAs;
use crate::msgr2::{EntityAddr, Target};
use crate::shm::job::Patience;
use crate::worker::{Worker, WorkerCore};

/// How long a session may take to be open for the first time, if its application says nothing.
const USUAL: Duration = Duration::from_secs(60);

impl Worker {
    /// Begins a session for an application, in a slot that is taken for it.
    pub(crate) fn connect_as(&mut self, core: &mut WorkerCore, wanted: ConnectAs) {
        let ConnectAs { reserved, identity, address, peer, patience } = wanted;
        let Reserved { slot, job, .. } = reserved;
        let (Some(entity), Some(lane)) =
            (self.entity_of(core, &identity), self.lane_of(identity.application))
        else {
            return self.unreserve_slot(core, &reserved);
        };
        let name = self.next_id();
        let conduit = Conduit::begin(Rc::clone(&lane), slot, name, job, address, false);
        let generation = conduit.generation();
        let session = Session::new(conduit, identity.entity.largest_message);
        let now = core.now();
        let target = Target {
            address: EntityAddr::msgr2(address, 0),
            entity: peer,
            policy: identity.entity.policy.policy(),
            reopen: false,
        };
        let Some((endpoint, sessions)) = self.entities.of_application(entity) else { return };
        let asked = (!self.draining).then(|| endpoint.borrow_mut().connect(target, now));
        let begun = match asked {
            None => Err(Errno::ESHUTDOWN),
            Some(Some(id)) if sessions.get_mut(id).is_none() => Ok(id),
            // Of a lossless session with a peer there is one.
            Some(Some(_)) => Err(Errno::EISCONN),
            Some(None) => Err(Errno::EMFILE),
        };
        match begun {
            Ok(id) => {
                lane.hold(slot, Held::Session { generation, entity, session: id });
                let endpoint = &mut *endpoint.borrow_mut();
                match patience {
                    Patience::Usual => endpoint.open_by(id, now + USUAL),
                    Patience::Ms(ms) => {
                        endpoint.open_by(id, now + Duration::from_millis(ms.into()))
                    }
                    Patience::Endless => {}
                }
                sessions.insert(endpoint, id, session, now);
            }
            Err(errno) => {
                lane.hold(slot, Held::Over { generation });
                self.over(core, session.conduit, errno as u16);
            }
        }
        self.heed_entity(core, entity);
    }

    /// An application no longer waits for the connection that it has asked for: it is told so, if
    /// that is still being made.
    pub(crate) fn cancel_connect(
        &mut self,
        core: &mut WorkerCore,
        application: ApplicationId,
        job: u64,
    ) {
        let Some(lane) = self.lane_of(application) else { return };
        for (_, held) in lane.all_held() {
            match held {
                Held::Live { token, .. } => {
                    if let Some(Role::Application(conduit)) = core.state(token).map(|it| &it.role)
                        && conduit.is_being_made_by(job)
                    {
                        self.dismiss(core, token, Ending::Cancelled);
                    }
                }
                Held::Session { entity, session, .. } => {
                    if let Some((endpoint, sessions)) = self.entities.of_application(entity)
                        && let Some(found) = sessions.get_mut(session)
                        && found.conduit.is_being_made_by(job)
                    {
                        endpoint.borrow_mut().cancel(session);
                        self.heed_entity(core, entity);
                    }
                }
                Held::Over { .. } | Held::Nothing => {}
            }
        }
    }
}
