//! Pure. Who is at the other end of a connection, and whether a listener believes what they say.

use std::net::IpAddr;

use ipnet::IpNet;

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process that file permissions let at the socket.
    Unix,
    /// An address.
    Address(IpAddr),
    /// Whoever holds the key of a certificate that our authority issued.
    Certificate {
        /// From where.
        address: IpAddr,
        /// Whether the certificate holds a listed name.
        listed: bool,
    },
}

/// Which peers a listener believes.
#[derive(Clone, Debug, Default)]
pub struct Trust(Vec<IpNet>);

impl Trust {
    /// Unix sockets always; addresses only in these networks; listed certificates from these networks, or from
    /// everywhere if none is said.
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether what that peer says is believed.
    pub fn believes(&self, peer: Peer) -> bool {
        match peer {
            Peer::Unix => true,
            Peer::Address(address) => self.covers(address),
            Peer::Certificate { address, listed } => listed && (self.0.is_empty() || self.covers(address)),
        }
    }

    fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;

    #[test]
    fn a_peer_is_believed_for_its_socket_its_address_or_its_certificate() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let check = |networks: &[&str], peer, expected| {
            let trust = Trust::new(networks.iter().map(|network| network.parse().unwrap()).collect());
            assert_eq!(trust.believes(peer), expected, "{networks:?} {peer:?}");
        };
        let certificate = |address, listed| Peer::Certificate { address: at(address), listed };
        check(&[], Peer::Unix, true);
        check(&[], Peer::Address(at("127.0.0.1")), false);
        check(&["10.0.0.0/24"], Peer::Address(at("10.0.0.7")), true);
        check(&["10.0.0.0/24"], Peer::Address(at("::ffff:10.0.0.7")), true);
        check(&["10.0.0.0/24"], Peer::Address(at("10.0.1.7")), false);
        check(&[], certificate("192.0.2.7", true), true);
        check(&[], certificate("192.0.2.7", false), false);
        check(&["10.0.0.0/24"], certificate("::ffff:10.0.0.7", true), true);
        check(&["10.0.0.0/24"], certificate("10.0.0.7", false), false);
        check(&["10.0.0.0/24"], certificate("192.0.2.7", true), false);
    }
}
