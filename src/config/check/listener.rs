//! Pure. Listeners: what each is for, where it is, whom it believes, and the limits of all.
//!
//! Invariant: an nginx or application listener believes nobody whom the settings did not name; a Unix socket believes
//! whom its permissions let in, so these do not let in everybody.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use super::{HOUR, SECOND, count, duration, tls};
use crate::{
    config::{
        problem::{Checked, Path, Problems},
        raw::{
            ListenerTable, ServerTable, SiteTable,
            leaf::{ListenAddress, SocketMode},
            node::{Field, Named},
        },
    },
    inbound::{Listener, Trust},
    server::{Address, Config, Limits, ListenerConfig},
    verify::policy::PolicyName,
};

/// Checks listeners and limits.
pub(super) fn server(
    listeners: &Named<ListenerTable>,
    server: &ServerTable,
    sites: &Named<SiteTable>,
    problems: &mut Problems,
) -> Checked<Config> {
    let limits = limits(server, problems);
    let stop_delay = duration(&server.stop_delay, STOP_DELAY, Duration::ZERO..=SECOND * 60, problems);
    let drain_timeout = duration(&server.drain_timeout, SECOND * 30, SECOND..=HOUR, problems);
    let read: Vec<_> =
        listeners.entries.iter().map(|(name, table)| listener(name, table, listeners, sites, problems)).collect();
    refuse_missing(listeners, problems);
    refuse_collisions(listeners, problems);
    Ok(Config {
        listeners: read.into_iter().collect::<Checked<_>>()?,
        limits: limits?,
        stop_delay: stop_delay?,
        drain_timeout: drain_timeout?,
    })
}

fn limits(server: &ServerTable, problems: &mut Problems) -> Checked<Limits> {
    let header_bytes = count(&server.header_bytes, 32 * 1024, 8 * 1024..=1024 * 1024, problems);
    let header_timeout = duration(&server.header_timeout, SECOND * 5, SECOND..=HOUR, problems);
    let idle_timeout = duration(&server.idle_timeout, SECOND * 90, SECOND..=HOUR, problems);
    let body_bytes = count(&server.body_bytes, 16 * 1024, 1024..=1024 * 1024, problems);
    let body_timeout = duration(&server.body_timeout, SECOND * 10, SECOND..=HOUR, problems);
    let connections = count(&server.connections, 4_096, 1..=1_000_000, problems);
    Ok(Limits {
        header_bytes: header_bytes?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        body_bytes: body_bytes?,
        body_timeout: body_timeout?,
        connections: connections?,
    })
}

fn listener(
    name: &str,
    table: &ListenerTable,
    all: &Named<ListenerTable>,
    sites: &Named<SiteTable>,
    problems: &mut Problems,
) -> Checked<ListenerConfig> {
    if PolicyName::parse(name).is_none() {
        problems.add(&all.path.key(name), super::NAME);
    }
    let kind = table.kind.required(problems);
    let address = table.address.required(problems);
    let networks = networks(&table.trusted_proxies, problems);
    let mode = socket_mode(table, kind.ok(), address.as_ref().ok(), problems);
    let site = site(table, kind, sites, problems);
    let certificates = certificates(table, kind, problems);
    let (kind, address) = (kind?, address?);
    let tls = tls::tls(table, kind, &address, problems);
    let trust = trust(table, kind, &address, networks?, problems);
    let address = match address {
        ListenAddress::Tcp(address) => Address::Tcp(address),
        ListenAddress::Unix(path) => Address::Unix { path, mode: mode? },
    };
    Ok(ListenerConfig {
        name: name.to_owned(),
        kind,
        address,
        trust: trust?,
        site: site?,
        certificates: certificates?,
        tls: tls?,
    })
}

/// Only nginx passes client certificates on.
fn certificates(table: &ListenerTable, kind: Checked<Listener>, problems: &mut Problems) -> Checked<bool> {
    let certificates = table.certificates.or(false)?;
    if certificates && kind? != Listener::Nginx {
        return Err(problems.add(&table.certificates.path, "is only for a listener of kind \"nginx\""));
    }
    Ok(certificates)
}

/// An application asks about the visitors of one site: its own.
fn site(
    table: &ListenerTable,
    kind: Checked<Listener>,
    sites: &Named<SiteTable>,
    problems: &mut Problems,
) -> Checked<Option<String>> {
    let field = &table.site;
    let mut names = sites.entries.keys();
    let message = match (kind?, field.optional()?) {
        (Listener::Application, Some(name)) if sites.entries.contains_key(&name) => return Ok(Some(name)),
        (Listener::Application, Some(_)) => "must be the name of a [site.NAME]",
        (Listener::Application, None) if sites.entries.len() > 1 => "is missing: which site is the application's?",
        (Listener::Application, None) => return Ok(names.next().cloned()),
        (Listener::Nginx | Listener::Ops, None) => return Ok(None),
        (Listener::Nginx | Listener::Ops, Some(_)) => "is only for a listener of kind \"application\"",
    };
    Err(problems.add(&field.path, message))
}

fn socket_mode(
    table: &ListenerTable,
    kind: Option<Listener>,
    address: Option<&ListenAddress>,
    problems: &mut Problems,
) -> Checked<u32> {
    let SocketMode(mode) = table.socket_mode.or(SocketMode(0o660))?;
    if matches!(address, Some(ListenAddress::Tcp(_))) && table.socket_mode.is_present() {
        problems.add(&table.socket_mode.path, "is only for a Unix socket");
    }
    if mode & 0o002 != 0 && kind != Some(Listener::Ops) {
        problems.add(
            &table.socket_mode.path,
            "must not let every user of this machine connect: whoever connects is believed to be nginx",
        );
    }
    Ok(mode)
}

/// Each network, but for those that are hardly meant.
fn networks(field: &Field<Vec<IpNet>>, problems: &mut Problems) -> Checked<Vec<IpNet>> {
    let networks = field.or(Vec::new())?;
    for (index, network) in networks.iter().enumerate() {
        if let Some(message) = refused_network(*network) {
            problems.add(&field.path.index(index), message);
        }
    }
    Ok(networks)
}

fn refused_network(network: IpNet) -> Option<&'static str> {
    let widest = match network {
        IpNet::V4(_) => WIDEST_IPV4,
        IpNet::V6(_) => WIDEST_IPV6,
    };
    if network.prefix_len() < widest {
        return Some("must not trust so many addresses: name the proxies, or their own network");
    }
    super::misread_network(network)
}

fn trust(
    table: &ListenerTable,
    kind: Listener,
    address: &ListenAddress,
    networks: Vec<IpNet>,
    problems: &mut Problems,
) -> Checked<Trust> {
    let message = match (kind, address) {
        (Listener::Ops, _) | (_, ListenAddress::Unix(_)) if networks.is_empty() => {
            return Ok(Trust::default());
        }
        (Listener::Ops, _) => "says nothing on an ops listener: it believes nobody",
        (_, ListenAddress::Unix(_)) => "says nothing on a Unix socket: its permissions say who may connect",
        (_, ListenAddress::Tcp(_)) if !networks.is_empty() || tls::is_meant(table) => return Ok(Trust::new(networks)),
        (_, ListenAddress::Tcp(address)) if address.ip().is_loopback() => {
            return Ok(Trust::new(loopback()));
        }
        (_, ListenAddress::Tcp(_)) => "is missing: others than this machine can connect, so name those to be believed",
    };
    Err(problems.add(&table.trusted_proxies.path, message))
}

fn loopback() -> Vec<IpNet> {
    [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])].map(IpNet::from).to_vec()
}

fn refuse_missing(listeners: &Named<ListenerTable>, problems: &mut Problems) {
    for (kind, name) in [(Listener::Nginx, "nginx"), (Listener::Ops, "ops")] {
        let may_be = |table: &ListenerTable| table.kind.given().is_none_or(|given| *given == kind);
        if !listeners.entries.values().any(may_be) {
            problems.add(&listeners.path.key(name), format!("is missing: one listener must be of kind \"{name}\""));
        }
    }
}

fn refuse_collisions(listeners: &Named<ListenerTable>, problems: &mut Problems) {
    let addresses: Vec<(&String, &Field<ListenAddress>)> =
        listeners.entries.iter().map(|(name, table)| (name, &table.address)).collect();
    for (position, (_, field)) in addresses.iter().enumerate() {
        let earlier = addresses[..position].iter().find(|(_, other)| match (field.given(), other.given()) {
            (Some(one), Some(other)) => collide(one, other),
            _ => false,
        });
        if let Some((name, _)) = earlier {
            let other: Path = listeners.path.key(name);
            problems.add(&field.path, format!("collides with the address of {other}"));
        }
    }
}

fn collide(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Unix(one), ListenAddress::Unix(other)) => one == other,
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            let same_port = one.port() == other.port() && one.port() != 0;
            let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
            same_port && (everywhere || one.ip().to_canonical() == other.ip().to_canonical())
        }
        (ListenAddress::Unix(_), ListenAddress::Tcp(_)) | (ListenAddress::Tcp(_), ListenAddress::Unix(_)) => false,
    }
}

/// Long enough for nginx to come by on every connection that is in use.
const STOP_DELAY: Duration = Duration::from_millis(500);
/// The shortest prefix that can be one operator's own: 10.0.0.0/8.
const WIDEST_IPV4: u8 = 8;
/// The same for IPv6: `fc00::/7`.
const WIDEST_IPV6: u8 = 7;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{config::fixture::Settings, inbound::Peer};

    fn check(listeners: &str, expected: &str) {
        assert_eq!(Settings::valid().with(listeners).problems(), expected, "{listeners}");
    }

    fn nginx(keys: &str, expected: &str) {
        let settings = Settings::valid()
            .without("listener.nginx")
            .with("[listener.nginx]\nkind = \"nginx\"")
            .with(&format!("[listener.nginx]\n{keys}"));
        assert_eq!(settings.problems(), expected, "{keys}");
    }

    #[test]
    fn addresses_are_sockets_or_ports() {
        let wrong =
            "listener.nginx.address: must be an address and a port, such as \"127.0.0.1:4180\", or \"unix:/path\"";
        nginx("address = '127.0.0.1:4180'", "");
        nginx("address = '[::1]:4180'", "");
        nginx("address = 'unix:/run/x.sock'\nsocket_mode = '0600'", "");
        nginx("address = 'localhost:4180'", wrong);
        nginx("address = '127.0.0.1'", wrong);
        nginx("address = 'unix:x.sock'", "listener.nginx.address: must have an absolute path for its Unix socket");
        nginx("", "listener.nginx.address: is missing");
        let long = format!("address = 'unix:/{}'", "x".repeat(107));
        nginx(&long, "listener.nginx.address: must not have a path longer than 107 bytes for its Unix socket");
    }

    #[test]
    fn a_port_that_others_reach_must_say_whom_it_believes() {
        let missing = "listener.nginx.trusted_proxies: is missing: others than this machine can connect, so name those to be believed";
        nginx("address = '0.0.0.0:4180'", missing);
        nginx("address = '192.0.2.1:4180'", missing);
        nginx("address = '[::]:4180'", missing);
        nginx("address = '0.0.0.0:4180'\ntrusted_proxies = ['192.0.2.7', '10.0.0.0/8', 'fd00::/8']", "");
    }

    #[test]
    fn proxies_are_a_few_addresses() {
        let check = |network: &str, expected: &str| {
            let keys = format!("address = '0.0.0.0:4180'\ntrusted_proxies = ['{network}']");
            let expected = if expected.is_empty() {
                String::new()
            } else {
                format!("listener.nginx.trusted_proxies[0]: {expected}")
            };
            nginx(&keys, &expected);
        };
        let many = "must not trust so many addresses: name the proxies, or their own network";
        check("192.0.2.0/24", "");
        check("0.0.0.0/0", many);
        check("128.0.0.0/1", many);
        check("::/0", many);
        check("::ffff:10.0.0.0/104", "must be written as an IPv4 network");
        check("192.0.2.7/24", "has bits set beyond its length: is it an address, or a network?");
        check("proxy.example.com", "must be an address or a network, such as \"10.0.0.7\" or \"10.0.0.0/24\"");
    }

    #[test]
    fn proxies_are_only_for_ports_of_nginx_and_applications() {
        nginx(
            "address = 'unix:/run/x.sock'\ntrusted_proxies = ['192.0.2.7']",
            "listener.nginx.trusted_proxies: says nothing on a Unix socket: its permissions say who may connect",
        );
        check(
            "[listener.ops]\ntrusted_proxies = ['192.0.2.7']",
            "listener.ops.trusted_proxies: says nothing on an ops listener: it believes nobody",
        );
    }

    #[test]
    fn sockets_do_not_let_everybody_in() {
        let wrong = "listener.nginx.socket_mode: must be permissions as in chmod, such as \"0660\"";
        nginx("address = 'unix:/run/x.sock'\nsocket_mode = '0o660'", wrong);
        nginx("address = 'unix:/run/x.sock'\nsocket_mode = '7777'", wrong);
        nginx(
            "address = 'unix:/run/x.sock'\nsocket_mode = '0666'",
            "listener.nginx.socket_mode: must not let every user of this machine connect: whoever connects is believed to be nginx",
        );
        nginx("address = '127.0.0.1:1'\nsocket_mode = '0660'", "listener.nginx.socket_mode: is only for a Unix socket");
        check("[listener.ops]\naddress = 'unix:/run/ops.sock'\nsocket_mode = '0666'", "");
    }

    #[test]
    fn nginx_and_ops_each_have_a_listener() {
        let missing = Settings::valid().without("listener").problems();
        assert_eq!(
            missing,
            "listener.nginx: is missing: one listener must be of kind \"nginx\"\nlistener.ops: is missing: one listener must be of kind \"ops\""
        );
        check("[listener.ops]\nkind = 'op'", "listener.ops.kind: must be one of \"nginx\", \"application\", \"ops\"");
    }

    #[test]
    fn no_two_listeners_share_an_address() {
        let check = |one: &str, other: &str, collides: bool| {
            let listeners = format!(
                "[listener.ops]\naddress = '{one}'\n[listener.zz]\nkind = 'application'\naddress = '{other}'\ntrusted_proxies = ['192.0.2.7']"
            );
            let expected = if collides { "listener.zz.address: collides with the address of listener.ops" } else { "" };
            assert_eq!(Settings::valid().with(&listeners).problems(), expected, "{one} {other}");
        };
        check("127.0.0.1:1", "127.0.0.1:1", true);
        check("127.0.0.1:1", "0.0.0.0:1", true);
        check("[::]:1", "127.0.0.1:1", true);
        check("127.0.0.1:1", "[::ffff:127.0.0.1]:1", true);
        check("127.0.0.1:1", "127.0.0.1:2", false);
        check("127.0.0.1:0", "127.0.0.1:0", false);
        check("127.0.0.1:1", "192.0.2.1:1", false);
    }

    #[test]
    fn limits_have_limits() {
        check(
            "[server]\nheader_bytes = 100\nbody_timeout = '2h'\nconnections = 0",
            "server.body_timeout: must be between 1s and 1h\nserver.connections: must be between 1 and 1000000\nserver.header_bytes: must be between 8192 and 1048576",
        );
        check("[server]\nprefix = 'auth'", "server.prefix: must be a plain path, such as \"/auth\" or \"/\"");
    }

    #[test]
    fn an_application_is_of_one_site() {
        let with = "[listener.application]\nkind = 'application'\naddress = 'unix:/run/portcullis/application.sock'";
        let two = "[site.other]\npublic_url = 'https://other.example.com'";
        let site = |name: &str| format!("[listener.application]\nsite = '{name}'");
        let site_of = |settings: Settings| {
            let listeners = settings.config().server.listeners;
            listeners.into_iter().find_map(|listener| listener.site)
        };
        assert_eq!(site_of(Settings::valid().with(with)).as_deref(), Some("main"));
        assert_eq!(site_of(Settings::valid().with(with).with(two).with(&site("other"))).as_deref(), Some("other"));
        assert_eq!(
            Settings::valid().with(with).with(two).problems(),
            "listener.application.site: is missing: which site is the application's?"
        );
        assert_eq!(
            Settings::valid().with(with).with(&site("nowhere")).problems(),
            "listener.application.site: must be the name of a [site.NAME]"
        );
        check("[listener.nginx]\nsite = 'main'", "listener.nginx.site: is only for a listener of kind \"application\"");
    }

    #[test]
    fn what_is_read_is_what_is_used() {
        let server = Settings::valid().with("[listener.nginx]\nsocket_mode = '0600'").config().server;
        let nginx = server.listeners.iter().find(|listener| listener.kind == Listener::Nginx);
        let address = nginx.map(|listener| listener.address.clone());
        assert_eq!(address, Some(Address::Unix { path: PathBuf::from("/run/portcullis/nginx.sock"), mode: 0o600 }));
        let local = Settings::valid().with("[listener.nginx]\naddress = '127.0.0.1:1'").config().server;
        let trust = local
            .listeners
            .iter()
            .find(|listener| listener.kind == Listener::Nginx)
            .map(|listener| listener.trust.clone());
        assert!(trust.is_some_and(|trust| {
            trust.believes(Peer::Address([127, 0, 0, 1].into()))
                && !trust.believes(Peer::Address([127, 0, 0, 2].into()))
        }));
    }
}
