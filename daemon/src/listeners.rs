//! The listeners: those of the command line, or else those of the file, or else the default.

use crate::address::listen_address;
use crate::args::Args;
use crate::config::File;
use crate::given::Given;
use crate::ranges::LISTENER_BACKLOG;
use crate::refusal::Refusal;
use crate::settings::ListenSettings;
use vmsgr_messenger::ServiceName;

/// Where the daemon listens when nobody says anything else.
const DEFAULT: (&str, &str) = ("127.0.0.1:7400", "echo");

/// The listeners, and whether they are the default.
pub fn merge(
    args: &Args,
    file: Option<&File>,
    backlog: u32,
) -> Result<(Vec<ListenSettings>, bool), Refusal> {
    let mut listen = Vec::new();
    for given in args.listen() {
        let (address, service) = given.text()?.split_once('=').ok_or_else(|| {
            given.refuse(format_args!(
                "'{}' is not ADDR=SERVICE, such as 127.0.0.1:7400=echo",
                given.text().unwrap_or_default()
            ))
        })?;
        add(&mut listen, (&given, address), (&given, service), backlog)?;
    }
    if !listen.is_empty() {
        return Ok((listen, false));
    }
    let Some(file) = file else {
        let default = Given::on_command_line("default listener", "");
        let (address, service) = DEFAULT;
        add(&mut listen, (&default, address), (&default, service), backlog)?;
        return Ok((listen, true));
    };
    for (address, service, own_backlog) in file.listen() {
        let backlog = match own_backlog {
            Some(given) => given.number(&LISTENER_BACKLOG)? as u32,
            None => backlog,
        };
        add(&mut listen, (&address, address.text()?), (&service, service.text()?), backlog)?;
    }
    if listen.is_empty() {
        return Err(Refusal::new(
            file.path(),
            "no listener; add a [[listen]] table with address and service, or the option \
             --listen ADDR=SERVICE",
        ));
    }
    Ok((listen, false))
}

/// Adds a listener, of which the address and the service were written in these places.
fn add(
    listen: &mut Vec<ListenSettings>,
    (address_given, address): (&Given, &str),
    (service_given, service): (&Given, &str),
    backlog: u32,
) -> Result<(), Refusal> {
    let address = listen_address(address).map_err(|error| address_given.refuse(error))?;
    // With SO_REUSEPORT the kernel would take both and deal connections out between them.
    if address.port() != 0 && listen.iter().any(|other| other.address == address) {
        let reason = format_args!("{address} has a listener already; an address has one service");
        return Err(address_given.refuse(reason));
    }
    let name: ServiceName = service.parse().map_err(|error| service_given.refuse(error))?;
    let service = name.resolve().map_err(|error| service_given.refuse(error))?;
    listen.push(ListenSettings { address, name, service, backlog });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::merge::tests::merge;

    #[test]
    fn a_listener_of_the_file_that_is_wrong_is_named_with_its_place() {
        for (address, service, own, start, part) in [
            ("\"7400\"", "\"echo\"", "", "v.toml:2:11: listen.address: ", "'7400' is not an addr"),
            ("7400", "\"echo\"", "", "v.toml:2:11: listen.address: ", "not a string in quotes"),
            ("\"[::1]:0\"", "\"ehco\"", "", "v.toml:3:11: listen.service: ", "relay:original-dst"),
            ("\"[::1]:0\"", "\"echo\"", "backlog = 0", "v.toml:4:11: listen.backlog: ", "65535"),
        ] {
            let text = format!("[[listen]]\naddress = {address}\nservice = {service}\n{own}\n");
            let text = merge(&[], Some(&text)).unwrap_err().to_string();
            assert!(text.starts_with(start) && text.contains(part), "{text}");
        }
    }

    #[test]
    fn an_address_has_one_listener_but_port_0_is_any() {
        let twice = ["-l", "127.0.0.1:7401=echo", "-l", "127.0.0.1:7401=discard"];
        let text = merge(&twice, None).unwrap_err().to_string();
        assert!(text.contains("127.0.0.1:7401 has a listener already"), "{text}");
        assert!(merge(&["-l", "127.0.0.1:0=echo", "-l", "127.0.0.1:0=echo"], None).is_ok());
        let apart = ["-l", "127.0.0.1:7401=echo", "-l", "0.0.0.0:7401=discard"];
        assert_eq!(merge(&apart, None).unwrap().listen.len(), 2);
    }

    #[test]
    fn a_file_without_a_listener_needs_one_on_the_command_line() {
        let text = merge(&[], Some("")).unwrap_err().to_string();
        assert!(text.starts_with("v.toml: no listener; add a [[listen]] table"), "{text}");
        let settings = merge(&["-l", "127.0.0.1:0=echo"], Some("")).unwrap();
        assert!(!settings.listens_by_default);
    }

    #[test]
    fn a_listener_of_the_command_line_that_is_wrong_is_named_with_its_option() {
        for (listen, part) in [
            ("127.0.0.1:7400", "is not ADDR=SERVICE"),
            ("7400=echo", "'7400' is not an address"),
            ("=echo", "'' is not an address"),
            ("127.0.0.1:0=", "there is no service ''"),
            ("127.0.0.1:0=http", "services are echo, discard"),
            ("127.0.0.1:0=relay:x", "'x' is not HOST:PORT"),
            ("no-such-host.invalid:1=echo", "no-such-host.invalid"),
            ("127.0.0.1:0=relay:no-such-host.invalid:1", "cannot be resol"),
        ] {
            let text = merge(&["-l", listen], None).unwrap_err().to_string();
            assert!(text.starts_with("--listen: ") && text.contains(part), "{listen}: {text}");
        }
    }
}
