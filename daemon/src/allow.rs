//! The applications: where they attach, and the entries of the policy.

use crate::config::{AllowGiven, File};
use crate::given::Given;
use crate::refusal::Refusal;
use crate::settings::{AllowSettings, AllowedUser, ApplicationSettings, AttachSocket};
use nix::unistd::{User, geteuid};
use std::path::PathBuf;
use std::str::FromStr;
use vmsgr_messenger::shm::{Allow, MAX_PATH_BYTES, Policy, Rule, Users};

/// Where applications attach, as somebody has said it.
pub fn socket(given: Option<&Given>) -> Result<AttachSocket, Refusal> {
    const ALLOWED: &str = "write a path, or 'none' for no applications";
    let Some(given) = given else { return Ok(AttachSocket::Default) };
    match given.text()? {
        "none" => Ok(AttachSocket::None),
        "" => Err(given.refuse(format_args!("'' is not a path; {ALLOWED}"))),
        path if path.len() > MAX_PATH_BYTES => Err(given.refuse(format_args!(
            "'{path}' has {} bytes, and the path of a socket has room for {MAX_PATH_BYTES}",
            path.len()
        ))),
        path if path.contains('\0') => {
            Err(given.refuse(format_args!("'{path}' is not a path; {ALLOWED}")))
        }
        path => Ok(AttachSocket::At(PathBuf::from(path))),
    }
}

/// The entries of the policy; where the file has none, the daemon's own user may use any address.
///
/// Looks up user names.
pub fn merge(file: Option<&File>) -> Result<Vec<AllowSettings>, Refusal> {
    let entries = file.into_iter().flat_map(File::allow).map(entry);
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    Ok(if entries.is_empty() { vec![AllowSettings::default()] } else { entries })
}

fn entry(given: AllowGiven) -> Result<AllowSettings, Refusal> {
    let default = AllowSettings::default();
    let rules = |rules: Option<Vec<Given>>, default| match rules {
        Some(rules) => rules.iter().map(Given::parse::<Rule>).collect(),
        None => Ok(default),
    };
    Ok(AllowSettings {
        user: given.user.map_or(Ok(default.user), |given| given.parse_word_or_number())?,
        listen: rules(given.listen, default.listen)?,
        connect: rules(given.connect, default.connect)?,
    })
}

impl Default for AllowSettings {
    fn default() -> Self {
        Self { user: AllowedUser::Own, listen: vec![Rule::ANY], connect: vec![Rule::ANY] }
    }
}

impl FromStr for AllowedUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let form = "write a name, a number, or '*' for everybody; without the key it is the user \
                    that the daemon runs as";
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // The last one is no user's: it stands for "unchanged" in system calls.
            let uid = text.parse().ok().filter(|&uid| uid != u32::MAX);
            return uid.map(Self::Uid).ok_or_else(|| format!("there is no user {text}; {form}"));
        }
        match User::from_name(text) {
            Ok(Some(user)) => Ok(Self::Uid(user.uid.as_raw())),
            Ok(None) => Err(format!("there is no user '{text}'; {form}")),
            Err(error) => Err(format!("user '{text}' cannot be looked up: {error}")),
        }
    }
}

impl ApplicationSettings {
    /// The policy that the entries make.
    pub fn policy(&self) -> Policy {
        let entry = |entry: &AllowSettings| Allow {
            users: match entry.user {
                AllowedUser::Own => Users::Uid(geteuid().as_raw()),
                AllowedUser::Any => Users::Any,
                AllowedUser::Uid(uid) => Users::Uid(uid),
            },
            listen: entry.listen.clone(),
            connect: entry.connect.clone(),
        };
        Policy::new(self.allow.iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::tests::merge;

    const ECHO: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\nservice = \"echo\"\n";

    /// What the words and a file of one listener and these tables come to.
    fn applications(words: &[&str], tables: &str) -> Result<ApplicationSettings, String> {
        let settings = merge(words, Some(&format!("{tables}\n{ECHO}")));
        settings.map(|settings| settings.applications).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn nothing_said_is_the_daemons_own_user_and_any_address() {
        let settings = applications(&[], "").unwrap();
        assert_eq!(settings, merge(&[], None).unwrap().applications);
        assert_eq!(settings.socket, AttachSocket::Default);
        let own = geteuid().as_raw();
        let policy = settings.policy();
        assert!(policy.attach(own + 1).is_err() && policy.only(own));
        let permissions = policy.attach(own).unwrap();
        assert!(permissions.may_listen("[::]:0".parse().unwrap()));
        assert!(permissions.may_connect("192.0.2.1:80".parse().unwrap()));
    }

    #[test]
    fn the_socket_of_the_command_line_wins() {
        let file = "[applications]\nsocket = \"/run/a\"\n";
        let socket = |words: &[&str], file| applications(words, file).unwrap().socket;
        assert_eq!(socket(&[], file), AttachSocket::At("/run/a".into()));
        assert_eq!(socket(&["--socket", "b"], file), AttachSocket::At("b".into()));
        assert_eq!(socket(&["--socket", "none"], file), AttachSocket::None);
        assert_eq!(socket(&["--socket", "./none"], file), AttachSocket::At("./none".into()));
        let none = "[applications]\nsocket = \"none\"\n";
        assert_eq!(socket(&[], none), AttachSocket::None);
        assert_eq!(socket(&["--socket", "b"], none), AttachSocket::At("b".into()));
    }

    #[test]
    fn a_socket_that_cannot_be_is_named() {
        let longest = format!("/{}", "x".repeat(106));
        assert!(applications(&["--socket", &longest], "").is_ok());
        let text = applications(&["--socket", &format!("{longest}x")], "").unwrap_err();
        assert!(text.starts_with("--socket: '/xxx"), "{text}");
        assert!(
            text.ends_with("has 108 bytes, and the path of a socket has room for 107"),
            "{text}"
        );
        let text = applications(&["--socket", ""], "").unwrap_err();
        assert!(text.starts_with("--socket: '' is not a path; write a path, or 'none'"), "{text}");
        for (value, start) in [
            ("\"a\\u0000b\"", "v.toml:2:10: applications.socket: 'a\\u{0}b' is not a path; "),
            ("false", "v.toml:2:10: applications.socket: false is not a string in quotes"),
        ] {
            let text = applications(&[], &format!("[applications]\nsocket = {value}\n"));
            let text = text.unwrap_err();
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn entries_say_whose_applications_may_do_what() {
        let settings = applications(
            &[],
            "[[applications.allow]]\nuser = \"root\"\nlisten = [\"127.0.0.1:*\", \"*:6800-7300\"]\n\
             [[applications.allow]]\nuser = \"*\"\nlisten = []\nconnect = [\"[fd00::/8]:1\"]\n\
             [[applications.allow]]\nuser = 4294967294\n\
             [[applications.allow]]\nuser = \"7\"\n\
             [[applications.allow]]\n",
        );
        let entries: Vec<_> = settings
            .unwrap()
            .allow
            .iter()
            .map(|entry| (entry.user, entry.listen.len(), entry.connect[0].to_string()))
            .collect();
        let any = || "*:*".to_owned();
        assert_eq!(
            entries,
            [
                (AllowedUser::Uid(0), 2, any()),
                (AllowedUser::Any, 0, "[fd00::/8]:1".to_owned()),
                (AllowedUser::Uid(u32::MAX - 1), 1, any()),
                (AllowedUser::Uid(7), 1, any()),
                (AllowedUser::Own, 1, any()),
            ]
        );
    }

    #[test]
    fn an_entry_that_is_wrong_is_named_with_its_place() {
        for (keys, start, part) in [
            (
                "user = \"no-such-user\"",
                "2:8: applications.allow.user: there is no user 'no-",
                "'*'",
            ),
            ("user = \"\"", "2:8: applications.allow.user: there is no user ''", "'*'"),
            ("user = -1", "2:8: applications.allow.user: there is no user '-1'", "a number"),
            ("user = 4294967295", "2:8: applications.allow.user: there is no user 429", "a number"),
            ("user = true", "2:8: applications.allow.user: true is not a string", ""),
            (
                "listen = [\"*\"]",
                "2:11: applications.allow.listen: '*' is not ADDRESS:PORT",
                "10.0",
            ),
            (
                "connect = [\n  \"*:*\",\n  \"10.0.0.1/8:1\",\n]",
                "4:3: applications.allow.connect: '10.0.0.1/8:1' is not",
                "write 10.0.0.0/8",
            ),
            ("connect = [7400]", "2:12: applications.allow.connect: 7400 is not a string", ""),
        ] {
            let text = applications(&[], &format!("[[applications.allow]]\n{keys}\n")).unwrap_err();
            let text = text.strip_prefix("v.toml:").unwrap();
            assert!(text.starts_with(start) && text.contains(part), "{text}");
        }
    }

    #[test]
    fn limits_that_are_wrong_are_named_with_their_place() {
        for (keys, start, part) in [
            ("max_endpoints = 0", "2:17: applications.max_endpoints: ", "1 to 16384 endpoints"),
            ("max_segment_bytes = 1", "2:21: applications.max_segment_bytes: ", "1048576 to"),
            ("max_held_bytes = 1", "2:18: applications.max_held_bytes: ", "1048576 to"),
            ("max_linger_secs = 3601", "2:19: applications.max_linger_secs: ", "0 to 3600"),
        ] {
            let text = applications(&[], &format!("[applications]\n{keys}\n")).unwrap_err();
            let text = text.strip_prefix("v.toml:").unwrap();
            assert!(text.starts_with(start) && text.contains(part), "{text}");
        }
    }
}
