//! An authority, and what it vouches for, as files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis::store::redis::{ClientCertificate, Tls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority, a certificate of 127.0.0.1, and one of a client.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_certificate: PathBuf,
    pub(crate) client_key: PathBuf,
}

impl Certificates {
    pub(crate) fn new(folder: &Path) -> Self {
        let files = Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("server.pem"),
            key: folder.join("server.key"),
            client_certificate: folder.join("client.pem"),
            client_key: folder.join("client.key"),
        };
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate that has its issuer's name for one that signed itself.
        authority.distinguished_name.push(DnType::CommonName, "authority");
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        fs::write(&files.ca, root.pem()).unwrap();
        for (name, certificate, key) in [
            ("127.0.0.1", &files.certificate, &files.key),
            ("gateway.test", &files.client_certificate, &files.client_key),
        ] {
            let own_key = KeyPair::generate().unwrap();
            let leaf = CertificateParams::new([name.to_owned()]).unwrap();
            fs::write(certificate, leaf.signed_by(&own_key, &issuer).unwrap().pem()).unwrap();
            fs::write(key, own_key.serialize_pem()).unwrap();
        }
        files
    }

    /// What a server needs that takes TLS on that port, and nothing else.
    pub(crate) fn options(&self, port: u16, auth_clients: &str) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let pairs = [
            ("--port", "0".to_owned()),
            ("--tls-port", port.to_string()),
            ("--tls-auth-clients", auth_clients.to_owned()),
            ("--tls-cert-file", text(&self.certificate)),
            ("--tls-key-file", text(&self.key)),
            ("--tls-ca-cert-file", text(&self.ca)),
            ("--tls-replication", "yes".to_owned()),
            ("--tls-cluster", "yes".to_owned()),
        ];
        pairs.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }

    /// Trust in the authority, without a certificate of one's own.
    pub(crate) fn trust(&self) -> Tls {
        Tls { ca_file: Some(self.ca.clone()), client: None }
    }

    /// The same, with one.
    pub(crate) fn client(&self) -> Tls {
        let (certificate_file, key_file) = (self.client_certificate.clone(), self.client_key.clone());
        Tls { client: Some(ClientCertificate { certificate_file, key_file }), ..self.trust() }
    }
}
