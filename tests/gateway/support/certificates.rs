//! A certificate authority of one journey, and what it vouches for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};

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
        // openssl takes a certificate whose issuer has its own name for a self-signed one.
        authority.distinguished_name.push(DnType::OrganizationalUnitName, "authority");
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

/// Whoever issues certificates; all authorities here have the same name.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate to ask for: for nginx, unless it is said otherwise.
pub(crate) struct Wanted {
    pub(crate) names: Vec<SanType>,
    pub(crate) common_name: &'static str,
    pub(crate) usage: Option<ExtendedKeyUsagePurpose>,
    /// The first and the last year.
    pub(crate) years: (i32, i32),
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Default for Wanted {
    fn default() -> Self {
        Self::named(&["nginx.internal"])
    }
}

impl Wanted {
    pub(crate) fn named(names: &[&str]) -> Self {
        let names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        Self { names, common_name: "nginx", usage: Some(ExtendedKeyUsagePurpose::ClientAuth), years: (2020, 2120) }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, wanted: Wanted) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = wanted.names;
        params.distinguished_name.push(DnType::CommonName, wanted.common_name);
        params.extended_key_usages = wanted.usage.into_iter().collect();
        params.not_before = date_time_ymd(wanted.years.0, 1, 1);
        params.not_after = date_time_ymd(wanted.years.1, 1, 1);
        Issued { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}
