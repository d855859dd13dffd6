//! A certificate authority of one journey, and what it vouches for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::APP;

/// Certificates for the application's name and for the provider's address.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    certificate_pem: String,
    key_pem: String,
}

impl Certificates {
    pub(crate) fn make(folder: &Path) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let names = [APP, "127.0.0.1", "localhost"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let made = Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("leaf.pem"),
            key: folder.join("leaf.key"),
            certificate_pem: leaf.pem(),
            key_pem: key.serialize_pem(),
        };
        fs::write(&made.ca, authority.pem()).unwrap();
        fs::write(&made.certificate, &made.certificate_pem).unwrap();
        fs::write(&made.key, &made.key_pem).unwrap();
        made
    }

    pub(crate) fn for_provider(&self) -> dev_idp::Tls {
        dev_idp::Tls { certificates_pem: self.certificate_pem.clone(), key_pem: self.key_pem.clone() }
    }
}
