//! TLS of one listener: handshakes within their deadline, and certificates that change without a restart.
//!
//! A connection keeps the certificates that it began with; when they are replaced it ends after the request it is on.
//! Whether a certificate counts is decided in `certificates` (by whom, when, for what) and `peer_certificate` (whose).

use std::{
    fs::File,
    io::{self, Read},
    mem,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{ServerConfig, time_provider::TimeProvider};
use rustls_pki_types::UnixTime;
use tokio::{
    net::TcpStream,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::{
    clock::{Clock, Timestamp},
    inbound::Peer,
    server::{
        certificates::{Certificates, Fingerprint, Paths, PerFile, Sightings},
        peer_certificate::{PeerNames, shown},
    },
    telemetry::Telemetry,
};

/// What a listener shows, and whom it asks for.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the three files are.
    pub paths: Paths,
    /// What was in them at the start.
    pub certificates: Certificates,
    /// Whose certificates are believed.
    pub names: PeerNames,
}

/// TLS of one listener.
#[derive(Debug)]
pub struct Tls {
    listener: String,
    paths: Paths,
    names: PeerNames,
    clock: Clock,
    telemetry: Telemetry,
    current: Mutex<Current>,
    complaints: Mutex<Complaints>,
}

/// What new connections are served with; connections that began with it are told when it is replaced.
#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    replaced: CancellationToken,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Secured {
    /// The stream.
    pub stream: TlsStream<TcpStream>,
    /// Who is at the other end.
    pub peer: Peer,
    /// Cancelled when the certificates that it began with are replaced.
    pub replaced: CancellationToken,
}

impl Tls {
    /// Begins with what was in the files at the start.
    pub fn new(listener: &str, config: Config, clock: &Clock, telemetry: &Telemetry) -> Self {
        let tls = Self {
            listener: listener.to_owned(),
            current: Mutex::new(Current::of(&config.certificates, clock)),
            paths: config.paths,
            names: config.names,
            clock: clock.clone(),
            telemetry: telemetry.clone(),
            complaints: Mutex::default(),
        };
        tls.announce(config.certificates.not_after());
        tls
    }

    /// Shakes hands; nothing where that failed, which is counted and, now and then, logged.
    pub async fn secure(&self, stream: TcpStream, address: IpAddr) -> Option<Secured> {
        let Current { config, replaced, .. } = self.current();
        let secured = match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err((failure(&error), error.to_string())),
            Err(_) => Err(("timeout", "it took too long".to_owned())),
        };
        match secured {
            Ok(stream) => {
                let peer = self.peer(&stream, address);
                Some(Secured { stream, peer, replaced })
            }
            Err((result, cause)) => {
                self.complain(result, address, &cause);
                None
            }
        }
    }

    /// A stranger is served all the same: the refusal is an answer, so that it can be seen at the other end.
    fn peer(&self, stream: &TlsStream<TcpStream>, address: IpAddr) -> Peer {
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let listed = certificate.is_some_and(|certificate| self.names.include(certificate));
        if listed {
            self.count("ok");
        } else {
            let names = certificate.map(|certificate| shown(certificate)).unwrap_or_default();
            self.complain("name_not_listed", address, &format!("its certificate is for {names}"));
        }
        Peer::Certificate { address, listed }
    }

    fn count(&self, result: &'static str) {
        self.telemetry.metrics().tls_handshake(&self.listener, result);
    }

    fn complain(&self, result: &'static str, peer: IpAddr, cause: &str) {
        self.count(result);
        let spoken = self.complaints.lock().unwrap_or_else(PoisonError::into_inner).speak(Instant::now());
        if let Some(unsaid) = spoken {
            let cause: String = cause.chars().take(CAUSE_CHARS).collect();
            warn!(listener = self.listener, result, %peer, cause, unsaid, "a TLS peer is not nginx");
        }
    }

    fn current(&self) -> Current {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is that listener's.
    pub(super) fn is_of(&self, listener: &str) -> bool {
        self.listener == listener
    }

    /// Serves new connections with certificates that somebody else has read, at once.
    pub(super) fn serve_with(&self, certificates: &Certificates) {
        if certificates.fingerprint() != self.current().fingerprint {
            self.take(Ok(certificates.clone()));
        }
    }

    /// Looks at the files for ever, and serves new connections with what is in them.
    pub async fn keep_up(self: Arc<Self>) {
        let mut used = self.current().fingerprint;
        let mut sightings = Sightings::since(used);
        loop {
            sleep(LOOK_EVERY).await;
            // Somebody else may have read them meanwhile.
            let current = self.current().fingerprint;
            if mem::replace(&mut used, current) != current {
                sightings = Sightings::since(current);
            }
            let this = Arc::clone(&self);
            let looked = spawn_blocking(move || {
                let seen = this.look(&mut sightings);
                (sightings, seen)
            });
            let Ok((after, seen)) = looked.await else {
                continue;
            };
            sightings = after;
            if let Some(seen) = seen {
                self.take(seen);
                used = self.current().fingerprint;
            }
        }
    }

    /// What is in the files, where a change settled.
    fn look(&self, sightings: &mut Sightings) -> Option<Result<Certificates, String>> {
        let files = match read_all(&self.paths) {
            Ok(files) => files,
            Err(trouble) => {
                return sightings.settled_on(Fingerprint::of_trouble(&trouble)).then_some(Err(trouble));
            }
        };
        let contents = PerFile { certificate: &**files.certificate, key: &**files.key, client_ca: &**files.client_ca };
        sightings.settled_on(Fingerprint::of(&contents)).then(|| {
            Certificates::read(&contents).map_err(|flaws| {
                let told = flaws.iter().map(|flaw| format!("{} {flaw}", self.paths.of(flaw.part()).display()));
                told.collect::<Vec<_>>().join("; ")
            })
        })
    }

    fn take(&self, seen: Result<Certificates, String>) {
        match seen {
            Ok(certificates) if certificates.fingerprint() == self.current().fingerprint => {
                info!(listener = self.listener, "the TLS files are again what they were");
            }
            Ok(certificates) => {
                self.replace(&certificates);
                self.telemetry.metrics().tls_reloaded(&self.listener, "ok");
                info!(listener = self.listener, "the TLS files have changed: new connections use them");
                self.announce(certificates.not_after());
            }
            Err(cause) => {
                self.telemetry.metrics().tls_reloaded(&self.listener, "error");
                warn!(listener = self.listener, cause, "the TLS files cannot be used: the former ones stay in use");
            }
        }
    }

    fn replace(&self, certificates: &Certificates) {
        let new = Current::of(certificates, &self.clock);
        let old = mem::replace(&mut *self.current.lock().unwrap_or_else(PoisonError::into_inner), new);
        old.replaced.cancel();
    }

    fn announce(&self, not_after: Timestamp) {
        self.telemetry.metrics().set_tls_not_after(&self.listener, not_after.seconds());
        if not_after <= self.clock.now() {
            warn!(listener = self.listener, "our own TLS certificate has expired: nginx will not talk to us");
        }
    }
}

impl Current {
    fn of(certificates: &Certificates, clock: &Clock) -> Self {
        let config = certificates.serving_by(Arc::new(Time(clock.clone())));
        Self { config, fingerprint: certificates.fingerprint(), replaced: CancellationToken::new() }
    }
}

/// The process's clock, as rustls asks for it.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now().seconds())))
    }
}

/// Keeps those who knock at the wrong door from filling the log.
#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    /// How many went unsaid since the last one that was said, if this one may be.
    fn speak(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < COMPLAIN_EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(mem::take(&mut self.unsaid))
    }
}

/// What a failed handshake counts as.
fn failure(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented) => "no_certificate",
        Some(rustls::Error::InvalidCertificate(_)) => "certificate_refused",
        Some(_) | None => "failed",
    }
}

fn read_all(paths: &Paths) -> Result<PerFile<Zeroizing<Vec<u8>>>, String> {
    Ok(PerFile { certificate: read(&paths.certificate)?, key: read(&paths.key)?, client_ca: read(&paths.client_ca)? })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut contents = Zeroizing::new(Vec::new());
    let file = File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut contents));
    match file {
        Ok(_) if contents.len() as u64 > FILE_BYTES => {
            Err(format!("{} is longer than {FILE_BYTES} bytes", path.display()))
        }
        Ok(_) => Ok(contents),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// How long a handshake may take, from the first moment of a connection.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at the files.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two lines about peers that are not nginx.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// What such a line tells of the cause.
const CAUSE_CHARS: usize = 300;
/// The longest file, as at the start.
const FILE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_strangers_is_one_line_now_and_then() {
        let mut complaints = Complaints::default();
        let began = Instant::now();
        assert_eq!(complaints.speak(began), Some(0));
        for millis in 0..500 {
            assert_eq!(complaints.speak(began + Duration::from_millis(millis)), None);
        }
        assert_eq!(complaints.speak(began + COMPLAIN_EVERY), Some(500));
        assert_eq!(complaints.speak(began + COMPLAIN_EVERY * 3), Some(0));
    }
}
