//! The authority of administrators' certificates: a root and an intermediate that openssl makes, what they issue, and the
//! server of their revocation lists.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A root and an intermediate, in a folder of their own.
pub(crate) struct AdminCa {
    folder: TempDir,
}

/// A certificate to ask for.
#[derive(Clone)]
pub(crate) struct Asked {
    /// The subject as openssl's settings write it, a line for each part.
    pub(crate) subject: String,
    /// Its extensions, likewise.
    pub(crate) extensions: String,
    /// From when and until when, in seconds from now.
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Asked {
    /// A client's, for five days.
    pub(crate) fn named(common_name: &str) -> Self {
        Self::with_subject(&format!("O = Example\nCN = {common_name}"))
    }

    pub(crate) fn with_subject(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            extensions: "extendedKeyUsage = clientAuth".to_owned(),
            from: -3_600,
            until: 5 * DAY,
        }
    }

    pub(crate) fn lasting(mut self, from: i64, until: i64) -> Self {
        (self.from, self.until) = (from, until);
        self
    }

    pub(crate) fn extended(mut self, extensions: &str) -> Self {
        extensions.clone_into(&mut self.extensions);
        self
    }
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Identity {
    /// For a client's TLS: certificate and key, PEM.
    pub(crate) fn pem(&self) -> Vec<u8> {
        [fs::read(&self.certificate).unwrap(), fs::read(&self.key).unwrap()].concat()
    }

    /// The certificate as nginx passes it on.
    pub(crate) fn escaped(&self) -> String {
        let escape = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        fs::read(&self.certificate).unwrap().into_iter().map(escape).collect()
    }
}

impl AdminCa {
    /// Makes both, with lists that revoke nobody.
    pub(crate) fn make() -> Self {
        let folder = TempDir::new().unwrap();
        let made = Self { folder };
        for authority in ["root", "intermediate"] {
            made.prepare(authority);
        }
        made.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=Admin Root",
            "-keyout",
            "root/key.pem",
            "-out",
            "root/certificate.pem",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]);
        let asked = Asked::with_subject("CN = Admin Intermediate")
            .lasting(-86_400, 30 * DAY)
            .extended("basicConstraints = critical, CA:TRUE, pathlen:0\nkeyUsage = critical, keyCertSign, cRLSign");
        let issued = made.issue_by("root", "intermediate", &asked);
        fs::copy(&issued.certificate, made.path("intermediate/certificate.pem")).unwrap();
        fs::copy(&issued.key, made.path("intermediate/key.pem")).unwrap();
        for authority in ["root", "intermediate"] {
            made.publish(authority);
        }
        made
    }

    fn prepare(&self, authority: &str) {
        fs::create_dir(self.path(authority)).unwrap();
        fs::write(self.path(&format!("{authority}/index.txt")), "").unwrap();
        fs::write(self.path(&format!("{authority}/index.txt.attr")), "unique_subject = no\n").unwrap();
        fs::write(self.path(&format!("{authority}/serial")), "1000\n").unwrap();
        fs::write(self.path(&format!("{authority}/crlnumber")), "01\n").unwrap();
    }

    /// A file of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What nginx takes as `ssl_client_certificate`: root and intermediate.
    pub(crate) fn for_nginx(&self) -> PathBuf {
        let both =
            ["root", "intermediate"].map(|name| fs::read(self.path(&format!("{name}/certificate.pem"))).unwrap());
        let file = self.path("for-nginx.pem");
        fs::write(&file, both.concat()).unwrap();
        file
    }

    /// A certificate by the intermediate.
    pub(crate) fn issue(&self, name: &str, asked: &Asked) -> Identity {
        self.issue_by("intermediate", name, asked)
    }

    pub(crate) fn issue_by(&self, authority: &str, name: &str, asked: &Asked) -> Identity {
        let settings = format!(
            "[req]\nprompt = no\nutf8 = yes\nstring_mask = utf8only\ndistinguished_name = subject\n[subject]\n{}\n\
             [ca]\ndefault_ca = authority\n[authority]\ndatabase = {authority}/index.txt\nserial = {authority}/serial\n\
             crlnumber = {authority}/crlnumber\nnew_certs_dir = .\ndefault_md = sha256\npolicy = any\npreserve = yes\n\
             x509_extensions = extensions\nunique_subject = no\ncertificate = {authority}/certificate.pem\n\
             private_key = {authority}/key.pem\ncopy_extensions = none\nstring_mask = utf8only\nutf8 = yes\n\
             [any]\nCN = optional\nO = optional\n[extensions]\nauthorityKeyIdentifier = keyid\n{}\n",
            asked.subject, asked.extensions
        );
        let (request, key, certificate) =
            (format!("{name}.csr"), format!("{name}.key.pem"), format!("{name}.certificate.pem"));
        let file = format!("{name}.cnf");
        fs::write(self.path(&file), settings).unwrap();
        self.openssl(&[
            "req",
            "-new",
            "-utf8",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-config",
            &file,
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        self.openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-preserveDN",
            "-multivalue-rdn",
            "-config",
            &file,
            "-in",
            &request,
            "-out",
            &certificate,
            "-startdate",
            &moment(asked.from),
            "-enddate",
            &moment(asked.until),
        ]);
        Identity { certificate: self.path(&certificate), key: self.path(&key) }
    }

    /// Writes a certificate on an authority's list, from its next edition on.
    pub(crate) fn revoke(&self, authority: &str, certificate: &Path) {
        self.as_authority(authority, &["-revoke", certificate.to_str().unwrap()]);
    }

    /// A new edition of an authority's list.
    pub(crate) fn publish(&self, authority: &str) -> PathBuf {
        let file = format!("{authority}/list.pem");
        self.as_authority(authority, &["-gencrl", "-crlhours", "24", "-out", &file]);
        self.path(&file)
    }

    fn as_authority(&self, authority: &str, arguments: &[&str]) {
        let file = format!("{authority}.authority.cnf");
        let settings = format!(
            "[ca]\ndefault_ca = authority\n[authority]\ndatabase = {authority}/index.txt\n\
             crlnumber = {authority}/crlnumber\ndefault_md = sha256\ncrl_extensions = list\n\
             certificate = {authority}/certificate.pem\nprivate_key = {authority}/key.pem\n\
             [list]\nauthorityKeyIdentifier = keyid:always\n"
        );
        fs::write(self.path(&file), settings).unwrap();
        self.openssl(&[&["ca", "-config", &file], arguments].concat());
    }

    /// Runs openssl in the folder.
    pub(crate) fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output();
        let output = output.unwrap_or_else(|error| panic!("no openssl ({error}); install it: scripts/install openssl"));
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// `YYYYMMDDHHMMSSZ`, so many seconds from now.
fn moment(seconds: i64) -> String {
    let output = Command::new("date")
        .args(["--utc", "--date", &format!("now {seconds:+} seconds"), "+%Y%m%d%H%M%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Serves revocation lists over http, each as it is told to.
pub(crate) struct Lists {
    address: std::net::SocketAddr,
    shelf: Arc<Mutex<HashMap<String, Served>>>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

/// What becomes of a request for a list.
#[derive(Clone)]
pub(crate) enum Served {
    /// 404.
    Nothing,
    /// 200 and these bytes.
    Bytes(Vec<u8>),
    /// 302 to another path.
    Elsewhere(&'static str),
    /// No answer ever comes.
    Silence,
    /// 200, and more than anybody wants.
    Endless,
}

impl Lists {
    /// Serves both lists of an authority, as `/root.crl` and `/intermediate.crl`.
    pub(crate) async fn of(ca: &AdminCa) -> Self {
        let lists = Self::none().await;
        lists.put_up(ca);
        lists
    }

    /// Serves nothing yet.
    pub(crate) async fn none() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shelf: Arc<Mutex<HashMap<String, Served>>> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (shelf_there, asked_there) = (Arc::clone(&shelf), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&shelf_there), Arc::clone(&asked_there)));
            }
        });
        Self { address, shelf, asked, serving }
    }

    /// Puts the authority's lists up as they are now.
    pub(crate) fn put_up(&self, ca: &AdminCa) {
        for authority in ["root", "intermediate"] {
            let list = fs::read(ca.path(&format!("{authority}/list.pem"))).unwrap();
            self.put(&format!("/{authority}.crl"), Served::Bytes(list));
        }
    }

    pub(crate) fn put(&self, path: &str, served: Served) {
        self.shelf.lock().unwrap().insert(path.to_owned(), served);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often a list was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut stream: tokio::net::TcpStream,
    shelf: Arc<Mutex<HashMap<String, Served>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut request = vec![0; 4_096];
    let length = stream.read(&mut request).await.unwrap_or_default();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(path.clone());
    let served = shelf.lock().unwrap().get(&path).cloned();
    let head =
        |status: &str, length: usize| format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    let answer = match served {
        None | Some(Served::Nothing) => head("404 Not Found", 0),
        Some(Served::Bytes(bytes)) => [head("200 OK", bytes.len()), bytes].concat(),
        Some(Served::Elsewhere(to)) => {
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
        Some(Served::Silence) => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            return;
        }
        Some(Served::Endless) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
            while stream.write_all(&[b'-'; 16 * 1024]).await.is_ok() {}
            return;
        }
    };
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

/// Seconds.
pub(crate) const DAY: i64 = 86_400;
