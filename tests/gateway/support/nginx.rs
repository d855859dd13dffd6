//! A real nginx that runs the shipped files, rendered by the same script as the demo's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sample_upstream::Upstream;

use super::{APP, PATIENCE, certificates::Certificates, free_port};

/// A running nginx, ended with its journey.
pub(crate) struct Nginx {
    pub(crate) https: u16,
    pub(crate) http: u16,
    /// Where further sites may listen.
    pub(crate) other: u16,
    pub(crate) folder: PathBuf,
    process: Child,
}

/// How nginx asks the gateway: options of `scripts/nginx-render`, and the socket of a second gateway.
pub(crate) struct Way {
    options: Vec<String>,
    also: Option<PathBuf>,
}

impl Way {
    /// Without TLS.
    pub(crate) fn to(gateway: &str) -> Self {
        Self { options: vec!["--gateway".to_owned(), gateway.to_owned()], also: None }
    }

    /// And further options.
    pub(crate) fn with(mut self, options: &[String]) -> Self {
        self.options.extend_from_slice(options);
        self
    }

    /// And a second gateway, in turn with the first.
    pub(crate) fn and_to(mut self, socket: Option<PathBuf>) -> Self {
        self.also = socket;
        self
    }

    /// Over TLS: the authority and the name that the gateway must have, nginx's certificate and its key.
    pub(crate) fn over_tls(gateway: &str, ca: &Path, name: &str, certificate: &Path, key: &Path) -> Self {
        let mut way = Self::to(gateway);
        for (option, value) in [("ca", ca), ("name", Path::new(name)), ("certificate", certificate), ("key", key)] {
            way.options.extend([format!("--gateway-{option}"), value.display().to_string()]);
        }
        way
    }
}

impl Nginx {
    pub(crate) async fn start(
        folder: &Path,
        certificates: &Certificates,
        https: u16,
        upstream: &Upstream,
        sites: &[String],
        way: &Way,
    ) -> Self {
        let (into, http, other) = (folder.join("nginx"), free_port(), free_port());
        let rendered = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/nginx-render"))
            .arg("--into")
            .arg(&into)
            .args(["--https", &format!("127.0.0.1:{https}"), "--http", &format!("127.0.0.1:{http}")])
            .args(["--name", APP, "--application", &upstream.address().to_string()])
            .arg("--certificate")
            .arg(&certificates.certificate)
            .arg("--key")
            .arg(&certificates.key)
            .args(&way.options)
            .status()
            .unwrap();
        assert!(rendered.success());
        if let Some(other) = &way.also {
            let file = into.join("portcullis/portcullis.conf");
            let both = format!("    server unix:{} max_fails=0;\n    server unix:", other.display());
            let text = fs::read_to_string(&file).unwrap().replacen("    server unix:", &both, 1);
            fs::write(&file, text).unwrap();
        }
        fs::write(into.join("www/docs/index.html"), "<h1>the manual</h1>").unwrap();
        for (number, text) in sites.iter().enumerate() {
            let text = text
                .replace("{application}", &upstream.address().to_string())
                .replace("{port}", &https.to_string())
                .replace("{other}", &other.to_string())
                .replace("{www}", &into.join("www").display().to_string())
                .replace("{certificate}", &certificates.certificate.display().to_string())
                .replace("{key}", &certificates.key.display().to_string());
            fs::write(into.join(format!("sites/extra-{number}.conf")), text).unwrap();
        }
        let process = Command::new("nginx")
            .arg("-p")
            .arg(&into)
            .arg("-c")
            .arg(into.join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx does not start ({error}); install it: scripts/install nginx"));
        let mut nginx = Self { https, http, other, folder: into, process };
        nginx.listening().await;
        nginx
    }

    async fn listening(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        while tokio::net::TcpStream::connect(("127.0.0.1", self.https)).await.is_err() {
            let log = || fs::read_to_string(self.folder.join("logs/error.log")).unwrap_or_default();
            assert!(self.process.try_wait().unwrap().is_none(), "nginx ended: {}", log());
            assert!(Instant::now() < deadline, "nginx does not listen: {}", log());
            pause.tick().await;
        }
    }

    /// Changes one of its files, and has it read them all again; it works with the old ones for a moment yet.
    pub(crate) fn reread(&self, file: &str, change: impl FnOnce(String) -> String) {
        let file = self.folder.join(file);
        fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
        let told = Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// What nginx itself complains of.
    pub(crate) fn error_log(&self) -> String {
        fs::read_to_string(self.folder.join("logs/error.log")).unwrap_or_default()
    }

    /// The site's access log.
    pub(crate) fn access_log(&self) -> String {
        fs::read_to_string(self.folder.join("logs/access.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.process.wait();
    }
}

/// Sends bytes to the site as they are, and gives the answer as text.
pub(crate) async fn raw(stage: &super::Stage, request: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = connected(stage).await;
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection to the site.
pub(crate) async fn connected(stage: &super::Stage) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = fs::read(&stage.certificates.ca).unwrap();
    for certificate in rustls_pki_types::pem::PemObject::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", stage.nginx.https)).await.unwrap();
    connector.connect(APP.try_into().unwrap(), stream).await.unwrap()
}

/// How long nginx may take to say that the gateway is gone.
pub(crate) const NGINX_PATIENCE: Duration = Duration::from_secs(2);
