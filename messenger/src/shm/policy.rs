//! Which users may attach, and which addresses their applications may use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::rule::Rule;

/// Which users may attach, and what for. A user whom several entries name has what any of them
/// allows; a user whom none names may not attach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    entries: Vec<Allow>,
}

/// One entry of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// For whom.
    pub users: Users,
    /// Where their applications may listen.
    pub listen: Vec<Rule>,
    /// Where their applications may connect to.
    pub connect: Vec<Rule>,
}

/// Users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// All of them.
    Any,
    /// The one with this number.
    Uid(u32),
}

/// What one application may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    listen: Vec<Rule>,
    connect: Vec<Rule>,
}

/// A user may not attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("user {uid} may not attach")]
pub struct Denied {
    /// The user's number.
    pub uid: u32,
}

impl Allow {
    /// These users, to any address.
    pub fn anything(users: Users) -> Self {
        Self { users, listen: vec![Rule::ANY], connect: vec![Rule::ANY] }
    }
}

impl Policy {
    /// A policy of these entries; without any, nobody may attach.
    pub fn new(entries: Vec<Allow>) -> Self {
        Self { entries }
    }

    /// What an application of the user may do.
    ///
    /// # Errors
    /// No entry names the user.
    pub fn attach(&self, uid: u32) -> Result<Permissions, Denied> {
        let mut permissions: Option<Permissions> = None;
        for entry in self.entries.iter().filter(|entry| entry.users.include(uid)) {
            let permissions = permissions
                .get_or_insert_with(|| Permissions { listen: Vec::new(), connect: Vec::new() });
            permissions.listen.extend_from_slice(&entry.listen);
            permissions.connect.extend_from_slice(&entry.connect);
        }
        permissions.ok_or(Denied { uid })
    }

    /// Whether nobody but the user may attach.
    pub fn only(&self, uid: u32) -> bool {
        self.entries.iter().all(|entry| entry.users == Users::Uid(uid))
    }
}

impl Users {
    fn include(self, uid: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Uid(one) => one == uid,
        }
    }
}

impl Permissions {
    /// Whether the application may listen there. Port 0 (any free one) needs a rule that has it:
    /// `0` or `*`.
    pub fn may_listen(&self, address: SocketAddr) -> bool {
        self.listen.iter().any(|rule| rule.covers(address))
    }

    /// Whether the application may connect to there. The unspecified address is the loopback, as
    /// for the kernel.
    pub fn may_connect(&self, mut address: SocketAddr) -> bool {
        match address.ip().to_canonical() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        self.connect.iter().any(|rule| rule.covers(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn allow(users: Users, listen: &[&str], connect: &[&str]) -> Allow {
        Allow { users, listen: rules(listen), connect: rules(connect) }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_is_not_named_may_not_attach() {
        assert_eq!(Policy::default().attach(0), Err(Denied { uid: 0 }), "not even root");
        let policy = Policy::new(vec![Allow::anything(Users::Uid(7))]);
        assert!(policy.attach(7).is_ok());
        assert_eq!(policy.attach(8).unwrap_err().to_string(), "user 8 may not attach");
        assert!(policy.only(7) && !policy.only(8));
        let policy = Policy::new(vec![Allow::anything(Users::Any)]);
        assert!(policy.attach(0).is_ok() && policy.attach(u32::MAX).is_ok() && !policy.only(0));
    }

    #[test]
    fn several_entries_add_up_for_those_whom_they_name() {
        let policy = Policy::new(vec![
            allow(Users::Any, &["127.0.0.1:*"], &[]),
            allow(Users::Uid(7), &["*:6800-7300"], &["10.0.0.0/8:*"]),
        ]);
        let seven = policy.attach(7).unwrap();
        assert!(seven.may_listen(at("127.0.0.1:1")) && seven.may_listen(at("0.0.0.0:7000")));
        assert!(seven.may_connect(at("10.1.1.1:1")) && !seven.may_connect(at("127.0.0.1:1")));
        let eight = policy.attach(8).unwrap();
        assert!(eight.may_listen(at("127.0.0.1:1")) && !eight.may_listen(at("0.0.0.0:7000")));
        assert!(!eight.may_connect(at("10.1.1.1:1")));
    }

    #[test]
    fn listening_and_connecting_are_two_permissions() {
        let policy = Policy::new(vec![allow(Users::Any, &["127.0.0.1:1"], &["127.0.0.1:2"])]);
        let permissions = policy.attach(1).unwrap();
        assert!(permissions.may_listen(at("127.0.0.1:1")));
        assert!(!permissions.may_listen(at("127.0.0.1:2")));
        assert!(permissions.may_connect(at("127.0.0.1:2")));
        assert!(!permissions.may_connect(at("127.0.0.1:1")));
    }

    #[test]
    fn another_way_to_write_an_address_is_no_way_around_a_rule() {
        let rules = &["10.0.0.0/8:*", "[::/0]:*"][..];
        let permissions = Policy::new(vec![allow(Users::Any, rules, rules)]).attach(1).unwrap();
        for outside in ["127.0.0.1:1", "[::ffff:127.0.0.1]:1", "[::ffff:0.0.0.0]:1", "0.0.0.0:1"] {
            assert!(!permissions.may_listen(at(outside)), "{outside}");
            assert!(!permissions.may_connect(at(outside)), "{outside}");
        }
    }

    #[test]
    fn all_addresses_are_more_than_one_to_listen_on_and_the_loopback_to_connect_to() {
        let listed =
            |rules: &[&str]| Policy::new(vec![allow(Users::Any, rules, rules)]).attach(1).unwrap();
        let loopback = listed(&["127.0.0.1:*", "[::1]:*"]);
        for all in ["0.0.0.0:1", "[::]:1", "[::ffff:0.0.0.0]:1"] {
            assert!(!loopback.may_listen(at(all)), "{all}");
            assert!(loopback.may_connect(at(all)), "{all}");
        }
        let all = listed(&["0.0.0.0:*", "[::]:*"]);
        for address in ["0.0.0.0:1", "[::]:1"] {
            assert!(all.may_listen(at(address)), "{address}");
            assert!(!all.may_connect(at(address)), "{address}");
        }
    }
}
