//! Pure. TLS of a listener: what it shows, and whose certificates are believed.
//!
//! Invariant: TLS always asks for a client certificate; there is no listener that encrypts and believes everybody.

use crate::{
    config::{
        problem::{Checked, Path, Problems},
        raw::{
            ListenerTable,
            leaf::{File, ListenAddress},
            node::Field,
        },
    },
    inbound::Listener,
    server::{
        certificates::{Certificates, Part, PerFile},
        peer_certificate::{PeerName, PeerNames},
        tls::Config,
    },
};

/// Whether any of the keys is there.
pub(super) fn is_meant(table: &ListenerTable) -> bool {
    keys(table).iter().any(|(_, present)| *present)
}

/// Checks all that TLS needs; nothing where none of it is given.
pub(super) fn tls(
    table: &ListenerTable,
    kind: Listener,
    address: &ListenAddress,
    problems: &mut Problems,
) -> Checked<Option<Config>> {
    if !is_meant(table) {
        return Ok(None);
    }
    let out_of_place = match (kind, address) {
        (Listener::Ops, _) => Some("is not for an ops listener, which is served without TLS"),
        (_, ListenAddress::Unix(_)) => Some("is not for a Unix socket: its permissions say who may connect"),
        (Listener::Nginx | Listener::Application, ListenAddress::Tcp(_)) => None,
    };
    if let Some(message) = out_of_place {
        let present = keys(table).into_iter().filter(|(_, present)| *present);
        let noted = present.map(|(path, _)| problems.add(path, message)).last();
        return noted.map_or(Ok(None), Err);
    }
    let certificate = given(&table.tls_certificate_file, problems);
    let key = given(&table.tls_key_file, problems);
    let client_ca = given(&table.client_ca_file, problems);
    let names = names(&table.client_names, problems);
    let files = PerFile { certificate: certificate?, key: key?, client_ca: client_ca? };
    let certificates = certificates(table, &files, problems)?;
    let paths = PerFile { certificate: files.certificate.path, key: files.key.path, client_ca: files.client_ca.path };
    Ok(Some(Config { paths, certificates, names: names? }))
}

fn keys(table: &ListenerTable) -> [(&Path, bool); 4] {
    [
        (&table.tls_certificate_file.path, table.tls_certificate_file.is_present()),
        (&table.tls_key_file.path, table.tls_key_file.is_present()),
        (&table.client_ca_file.path, table.client_ca_file.is_present()),
        (&table.client_names.path, table.client_names.is_present()),
    ]
}

fn given<T: Clone>(field: &Field<T>, problems: &mut Problems) -> Checked<T> {
    field.optional()?.ok_or_else(|| problems.add(&field.path, MISSING))
}

fn names(field: &Field<Vec<PeerName>>, problems: &mut Problems) -> Checked<PeerNames> {
    let names = given(field, problems)?;
    if names.is_empty() {
        return Err(problems.add(&field.path, "must name at least one: nobody would be believed"));
    }
    Ok(PeerNames::new(names))
}

fn certificates(table: &ListenerTable, files: &PerFile<File>, problems: &mut Problems) -> Checked<Certificates> {
    let contents = PerFile {
        certificate: files.certificate.contents.as_slice(),
        key: files.key.contents.as_slice(),
        client_ca: files.client_ca.contents.as_slice(),
    };
    Certificates::read(&contents).map_err(|flaws| {
        let path = |part| match part {
            Part::Certificate => &table.tls_certificate_file.path,
            Part::Key => &table.tls_key_file.path,
            Part::ClientCa => &table.client_ca_file.path,
        };
        let told = flaws.iter().map(|flaw| problems.add(path(flaw.part()), format!("names a file that {flaw}")));
        let told = told.last();
        told.unwrap_or_else(|| problems.add(path(Part::Certificate), "names a file that cannot be used"))
    })
}

const MISSING: &str =
    "is missing: TLS takes tls_certificate_file, tls_key_file, client_ca_file and client_names together";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::fs;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;
    use crate::{config::fixture::Settings, inbound::Peer, server::ListenerConfig};

    /// Two certificates with their keys, and files that are neither.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["one", "other"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![format!("{name}.internal")]).unwrap();
            fs::write(folder.path().join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
            fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        fs::write(folder.path().join("empty"), "").unwrap();
        folder
    }

    const ALL: [(&str, &str); 4] = [
        ("tls_certificate_file", "'@/one.pem'"),
        ("tls_key_file", "'@/one.key'"),
        ("client_ca_file", "'@/other.pem'"),
        ("client_names", "['nginx.internal']"),
    ];

    fn settings(listener: &str, keys: &[(&str, &str)], folder: &TempDir) -> Settings {
        let keys: String = keys.iter().flat_map(|(key, value)| [*key, " = ", *value, "\n"]).collect();
        let keys = keys.replace('@', folder.path().to_str().unwrap());
        Settings::valid()
            .without("listener.nginx")
            .with("[listener.zz]\nkind = 'nginx'\naddress = 'unix:/run/zz.sock'")
            .with(&format!("[listener.x]\n{listener}\n{keys}"))
    }

    const TCP: &str = "kind = 'nginx'\naddress = '0.0.0.0:4180'";

    fn check(changed: &[(&str, &str)], expected: &str) {
        let folder = folder();
        let keys = ALL.map(|(key, value)| {
            let changed = changed.iter().find(|(name, _)| *name == key);
            (key, changed.map_or(value, |(_, value)| *value))
        });
        let keys: Vec<_> = keys.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        assert_eq!(settings(TCP, &keys, &folder).problems(), expected, "{changed:?}");
    }

    #[test]
    fn all_four_keys_or_none() {
        check(&[], "");
        for (key, _) in ALL {
            check(&[(key, "")], &format!("listener.x.{key}: {MISSING}"));
        }
        let three = "client_ca_file tls_certificate_file tls_key_file".split(' ');
        let three: Vec<String> = three.map(|key| format!("listener.x.{key}: {MISSING}")).collect();
        let removed = [("tls_certificate_file", ""), ("tls_key_file", ""), ("client_ca_file", "")];
        check(&removed, &three.join("\n"));
    }

    #[test]
    fn files_must_hold_what_they_are_for() {
        let certificate = "listener.x.tls_certificate_file: names a file that has no PEM certificates, or broken ones";
        let key = "listener.x.tls_key_file: names a file that has no PEM private key that can be used: PKCS#8, SEC1 or PKCS#1, not encrypted";
        let ca = "listener.x.client_ca_file: names a file that has no PEM certificates of authorities, or broken ones";
        check(&[("tls_certificate_file", "'@/empty'")], certificate);
        check(&[("tls_certificate_file", "'@/one.key'")], certificate);
        check(&[("tls_key_file", "'@/empty'")], key);
        check(&[("tls_key_file", "'@/one.pem'")], key);
        check(&[("client_ca_file", "'@/empty'")], ca);
        check(&[("client_ca_file", "'@/one.key'")], ca);
        let other = "listener.x.tls_key_file: names a file that holds another key than that of the first certificate in tls_certificate_file";
        check(&[("tls_key_file", "'@/other.key'")], other);
        let all =
            [("tls_certificate_file", "'@/empty'"), ("tls_key_file", "'@/empty'"), ("client_ca_file", "'@/empty'")];
        check(&all, &[ca, certificate, key].join("\n"));
        let missing =
            "listener.x.tls_key_file: names a file that cannot be read: No such file or directory (os error 2)";
        check(&[("tls_key_file", "'@/missing'")], missing);
    }

    #[test]
    fn names_are_at_least_one_and_exact() {
        check(&[("client_names", "[]")], "listener.x.client_names: must name at least one: nobody would be believed");
        let wrong = |index| {
            format!(
                "listener.x.client_names[{index}]: must be a DNS name such as \"nginx.internal\", or \"IP:10.0.0.7\", or \"URI:spiffe://example.com/nginx\", without wild card"
            )
        };
        check(&[("client_names", "['*.internal']")], &wrong(0));
        check(&[("client_names", "['nginx.internal', '10.0.0.7']")], &wrong(1));
        check(&[("client_names", "['nginx.internal', 'IP:10.0.0.7', 'URI:spiffe://example.com/nginx']")], "");
    }

    #[test]
    fn tls_is_for_ports_of_nginx_and_applications() {
        let folder = folder();
        let told = |listener: &str| settings(listener, &ALL, &folder).problems();
        assert_eq!(told("kind = 'application'\naddress = '0.0.0.0:4180'"), "");
        let every = |message: &str| {
            let keys = ["client_ca_file", "client_names", "tls_certificate_file", "tls_key_file"];
            keys.map(|key| format!("listener.x.{key}: {message}")).join("\n")
        };
        assert_eq!(
            told("kind = 'nginx'\naddress = 'unix:/run/x.sock'"),
            every("is not for a Unix socket: its permissions say who may connect")
        );
        assert_eq!(
            told("kind = 'ops'\naddress = '127.0.0.1:4180'"),
            every("is not for an ops listener, which is served without TLS")
        );
    }

    #[test]
    fn the_certificate_is_the_proof_and_proxies_narrow_it() {
        let folder = folder();
        let listener = |listener: &str| -> ListenerConfig {
            let listeners = settings(listener, &ALL, &folder).config().server.listeners;
            listeners.into_iter().find(|listener| listener.name == "x").unwrap()
        };
        let believes = |listener: &ListenerConfig, address: [u8; 4], listed| {
            listener.trust.believes(Peer::Certificate { address: address.into(), listed })
        };
        let anywhere = listener("kind = 'nginx'\naddress = '127.0.0.1:4180'");
        assert!(anywhere.tls.is_some());
        assert!(believes(&anywhere, [192, 0, 2, 7], true));
        assert!(!believes(&anywhere, [127, 0, 0, 1], false));
        assert!(!anywhere.trust.believes(Peer::Address([127, 0, 0, 1].into())));
        let narrow = listener("kind = 'nginx'\naddress = '0.0.0.0:4180'\ntrusted_proxies = ['10.0.0.0/24']");
        assert!(believes(&narrow, [10, 0, 0, 7], true));
        assert!(!believes(&narrow, [192, 0, 2, 7], true));
        assert!(!believes(&narrow, [10, 0, 0, 7], false));
    }
}
