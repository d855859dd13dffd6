//! The stage of a journey: provider, gateway, nginx with the shipped files, and an application behind it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use dev_idp::{Client, DevIdp, Endpoint};
use portcullis::{
    clock::{Clock, Timestamp},
    server::Address,
    telemetry::Telemetry,
};
use sample_upstream::Upstream;
use tempfile::TempDir;

pub(crate) mod admin_ca;
pub(crate) mod binary;
pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod emergency;
pub(crate) mod line;
pub(crate) mod nginx;
pub(crate) mod oidc_provider;
pub(crate) mod prometheus;
#[expect(dead_code, reason = "the store's own tests use more of it")]
#[path = "../store/support/redis.rs"]
pub(crate) mod redis;
pub(crate) mod in_process;
pub(crate) mod replica;
pub(crate) mod systemd;
pub(crate) mod traffic;
pub(crate) mod twin;
pub(crate) mod visitor;
pub(crate) mod wire;

use certificates::Certificates;
use in_process::{InProcess, elsewhere};
use nginx::{Nginx, Way};
use twin::AsNginx;
pub(crate) use visitor::{Reply, Visitor};

/// Long enough for a crowded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The name that browsers know the application by.
pub(crate) const APP: &str = "app.test";

/// What a journey wants to be different.
pub(crate) struct Plan {
    settings: Vec<(&'static str, String)>,
    others_settings: Vec<(&'static str, String)>,
    with_redis: bool,
    provider: dev_idp::Settings,
    authentication: Option<(&'static str, &'static str)>,
    foreign_issuer: Option<(String, String)>,
    sites: Vec<String>,
    ground: Option<(TempDir, Certificates)>,
    way: Option<Way>,
    gateway_too: bool,
    gateways: usize,
    real_time: bool,
    nginx_options: Vec<String>,
}

impl Plan {
    /// A public client, the memory store, defaults.
    pub(crate) fn new() -> Self {
        Self {
            settings: Vec::new(),
            others_settings: Vec::new(),
            with_redis: false,
            provider: dev_idp::Settings::default(),
            authentication: None,
            foreign_issuer: None,
            sites: Vec::new(),
            ground: None,
            way: None,
            gateway_too: true,
            gateways: 1,
            real_time: false,
            nginx_options: Vec::new(),
        }
    }

    /// Sets a key, written as in the environment without its prefix: `SESSION__IDLE_TIMEOUT`.
    pub(crate) fn set(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((key, value.into()));
        self
    }

    /// Sets a key for the second of two gateways alone.
    pub(crate) fn set_for_the_other(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.others_settings.push((key, value.into()));
        self
    }

    /// Sessions live in a Redis of their own.
    pub(crate) fn with_redis(mut self) -> Self {
        self.with_redis = true;
        self
    }

    /// Changes the provider's settings.
    pub(crate) fn provider(mut self, change: impl FnOnce(&mut dev_idp::Settings)) -> Self {
        change(&mut self.provider);
        self
    }

    /// The client is confidential: `client_secret_basic` or `client_secret_post`, and its secret.
    pub(crate) fn authenticating(mut self, method: &'static str, secret: &'static str) -> Self {
        self.authentication = Some((method, secret));
        self
    }

    /// Another provider than dev-idp, by its issuer and our client id there.
    pub(crate) fn with_issuer(mut self, issuer: &str, client_id: &str) -> Self {
        self.foreign_issuer = Some((issuer.to_owned(), client_id.to_owned()));
        self
    }

    /// One more nginx site file; `{application}` and `{port}` in it are filled in.
    pub(crate) fn site(mut self, text: &str) -> Self {
        self.sites.push(text.to_owned());
        self
    }

    /// In a folder, and with certificates, that were there before.
    pub(crate) fn standing_on(mut self, folder: TempDir, certificates: Certificates) -> Self {
        self.ground = Some((folder, certificates));
        self
    }

    /// nginx asks the gateway in another way than by its Unix socket.
    pub(crate) fn asking_by(mut self, way: Way) -> Self {
        self.way = Some(way);
        self
    }

    /// The journey starts the gateway itself, as a process.
    pub(crate) fn without_gateway(mut self) -> Self {
        self.gateway_too = false;
        self
    }

    /// Two gateways behind the one nginx, which asks them in turn; each can be killed. They need a Redis.
    pub(crate) fn of_two(mut self) -> Self {
        self.gateways = 2;
        self
    }

    /// More options of `scripts/nginx-render`.
    pub(crate) fn rendering(mut self, options: &[String]) -> Self {
        self.nginx_options.extend_from_slice(options);
        self
    }

    /// The gateway's clock is the machine's own, which nobody moves.
    pub(crate) fn on_real_time(mut self) -> Self {
        self.real_time = true;
        self
    }

    /// Starts everything.
    pub(crate) async fn start(self) -> Stage {
        Stage::start(self, free_port()).await
    }

    /// Starts everything with the application at a port that was chosen before.
    pub(crate) async fn start_at(self, https: u16) -> Stage {
        Stage::start(self, https).await
    }
}

/// Everything a journey needs, started.
pub(crate) struct Stage {
    pub(crate) idp: DevIdp,
    pub(crate) upstream: Upstream,
    pub(crate) clock: Clock,
    pub(crate) nginx: Nginx,
    pub(crate) redis: Option<redis::Server>,
    pub(crate) certificates: Certificates,
    pub(crate) telemetry: Telemetry,
    gateway: Option<InProcess>,
    other: Option<InProcess>,
    settings: Vec<(String, String)>,
    others_settings: Vec<(&'static str, String)>,
    pub(crate) folder: TempDir,
}

impl Stage {
    /// The usual stage.
    pub(crate) async fn usual() -> Self {
        Plan::new().start().await
    }

    async fn start(mut plan: Plan, https: u16) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (folder, certificates) = plan.ground.take().unwrap_or_else(|| {
            let folder = TempDir::new().unwrap();
            let certificates = Certificates::make(folder.path());
            (folder, certificates)
        });
        let idp = start_provider(&plan, &certificates, https).await;
        let upstream = sample_upstream::start(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let redis = plan.with_redis.then(redis::Server::start);
        let settings = settings(&plan, folder.path(), &idp, redis.as_ref(), https);
        let way = plan.way.take().unwrap_or_else(|| Way::to(&format!("unix:{}/nginx.sock", folder.path().display())));
        let way = way.with(&plan.nginx_options).and_to((plan.gateways == 2).then(|| folder.path().join(OTHER_SOCKET)));
        let nginx = Nginx::start(folder.path(), &certificates, https, &upstream, &plan.sites, &way).await;
        let clock = if plan.real_time { Clock::system() } else { Clock::manual(Timestamp::from_seconds(idp.now())) };
        let telemetry = Telemetry::new(false);
        let mut stage = Self {
            idp,
            upstream,
            clock,
            nginx,
            redis,
            certificates,
            telemetry,
            gateway: None,
            other: None,
            settings,
            others_settings: plan.others_settings,
            folder,
        };
        match (plan.gateway_too, plan.gateways) {
            (true, 1) => stage.start_gateway().await,
            (true, gateways) => {
                for number in 0..gateways {
                    stage.start_replica(number).await;
                }
            }
            (false, _) => {}
        }
        stage
    }

    /// The gateway's settings as a file; [`Stage::environment`] goes over it.
    pub(crate) fn settings_file(&self) -> PathBuf {
        let file = self.folder.path().join("portcullis.toml");
        fs::write(&file, SETTINGS).unwrap();
        file
    }

    /// What the settings file leaves open.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }

    /// The program itself as the gateway, of a plan [`Plan::without_gateway`].
    pub(crate) async fn start_program(&self, name: &str) -> binary::Binary {
        let program = binary::Binary::serve(&self.settings_file(), &self.settings, name);
        let visitor = Visitor::new(self);
        eventually("the gateway answers", || async { visitor.get("/auth/health").await.status == 200 }).await;
        program
    }

    /// The program itself as one of two gateways, of a plan [`Plan::without_gateway`].
    pub(crate) async fn start_program_of_two(&self, number: usize, name: &str) -> binary::Binary {
        let program = binary::Binary::serve(&self.settings_file(), &self.replica_settings(number), name);
        self.asking(number).answers().await;
        program
    }

    /// Gives a setting another value, for the gateway that is started next.
    pub(crate) fn change(&mut self, key: &str, value: &str) {
        self.settings.push((format!("PORTCULLIS_{key}"), value.to_owned()));
    }

    /// Starts the gateway, or another one after [`Stage::stop_gateway`].
    pub(crate) async fn start_gateway(&mut self) {
        self.start_gateway_unseen();
        let visitor = Visitor::new(self);
        eventually("the gateway answers", || async { visitor.get("/auth/health").await.status == 200 }).await;
    }

    /// Starts the gateway, even if nginx cannot get at it.
    pub(crate) fn start_gateway_unseen(&mut self) {
        self.gateway = Some(InProcess::start(&self.settings_file(), &self.settings, &self.clock, &self.telemetry));
    }

    /// Starts one of two gateways, or another one in the place of one that was killed.
    pub(crate) async fn start_replica(&mut self, number: usize) {
        let settings = self.replica_settings(number);
        let replica = InProcess::start_apart(&self.settings_file(), &settings, &self.clock, &self.telemetry);
        *self.replica(number) = Some(replica);
        self.asking(number).answers().await;
    }

    /// Kills one of two gateways, in the middle of whatever it does.
    pub(crate) fn kill_replica(&mut self, number: usize) {
        self.replica(number).take().unwrap().kill();
    }

    /// Asks one of two gateways itself, as nginx asks.
    pub(crate) fn asking(&self, number: usize) -> AsNginx {
        AsNginx::at(self.folder.path().join(SOCKETS[number]))
    }

    /// What the settings file leaves open for one of two gateways.
    pub(crate) fn replica_settings(&self, number: usize) -> Vec<(String, String)> {
        if number == 0 {
            return self.settings.clone();
        }
        let settings = elsewhere(&self.settings, &self.folder.path().join(OTHER_SOCKET));
        let own = self.others_settings.iter().map(|(key, value)| (format!("PORTCULLIS_{key}"), value.clone()));
        settings.into_iter().chain(own).collect()
    }

    fn replica(&mut self, number: usize) -> &mut Option<InProcess> {
        if number == 0 { &mut self.gateway } else { &mut self.other }
    }

    /// Tells the gateway to stop, and does not wait.
    pub(crate) fn begin_stop(&self) {
        self.gateway.as_ref().unwrap().drain.stop();
    }

    /// Stops the gateway as a signal does, and waits for its end.
    pub(crate) async fn stop_gateway(&mut self) {
        if let Some(replica) = self.gateway.take() {
            replica.stop().await;
        }
    }

    /// Moves the clocks of gateway and provider.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.idp.advance(by);
    }

    /// The URL of a path of the application.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{APP}:{}{path}", self.nginx.https)
    }

    /// Where one of the gateway's own listeners listens.
    pub(crate) fn listener(&self, name: &str) -> Address {
        self.gateway.as_ref().unwrap().listener(name)
    }

    /// Where the ops listener is.
    pub(crate) fn ops(&self) -> &str {
        let mut settings = self.settings.iter().rev();
        let (_, address) = settings.find(|(key, _)| key == "PORTCULLIS_LISTENER__OPS__ADDRESS").unwrap();
        address
    }

    /// The text of `/metrics`, as Prometheus gets it.
    pub(crate) async fn metrics(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.ops())).await.unwrap().text().await.unwrap()
    }

    /// The value of one series, zero where there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_default()
    }

    /// The same of a series that has whole numbers.
    pub(crate) async fn counted(&self, series: &str) -> u64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_default()
    }

    /// How often the provider was asked for something.
    pub(crate) fn asked(&self, endpoint: Endpoint) -> usize {
        self.idp.requests_to(endpoint).len()
    }

    /// The session cookie of somebody who is signed in, whatever that lets them see, as the header has it.
    pub(crate) async fn cookie_of(&self, login: &str) -> String {
        let visitor = Visitor::new(self);
        visitor.sign_in(login, "/").await;
        let cookies = visitor.cookies();
        let session = cookies.split("; ").find(|pair| pair.contains("-portcullis="));
        session.unwrap_or_else(|| panic!("{login} has no session: {cookies}")).to_owned()
    }

    /// A visitor who is signed in.
    pub(crate) async fn signed_in(&self, login: &str) -> Visitor {
        let visitor = Visitor::new(self);
        let reply = visitor.sign_in(login, "/").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        visitor
    }
}

/// Where nginx finds the gateways.
const SOCKETS: [&str; 2] = ["nginx.sock", OTHER_SOCKET];
const OTHER_SOCKET: &str = "other.sock";

const SETTINGS: &str = r#"
mode = "production"
[listener.nginx]
kind = "nginx"
[listener.application]
kind = "application"
[listener.ops]
kind = "ops"
[policy.staff]
rules = [{ allow = true, groups = ["staff"] }]
[policy.admins]
rules = [
    { allow = true, groups = ["admins"] },
    { allow = true, groups = ["admins"], methods = ["client-certificate"] },
]
[policy.everyone]
rules = [{ allow = true, everyone = true }]
[policy.fresh]
rules = [{ allow = true, everyone = true, max_sign_in_age = "5m" }]
[policy.editors]
rules = [{ allow = true, claims = [{ path = "https://example.com/roles", values = ["editor"] }] }]
[policy.realm-admins]
rules = [{ allow = true, claims = [{ path = "realm_access.roles", values = ["admin"] }] }]
"#;

fn settings(
    plan: &Plan,
    folder: &Path,
    idp: &DevIdp,
    redis: Option<&redis::Server>,
    https: u16,
) -> Vec<(String, String)> {
    let folder_text = folder.display();
    let (issuer, client_id) = plan.foreign_issuer.clone().unwrap_or((idp.issuer().to_owned(), "gateway".to_owned()));
    let mut all = vec![
        ("LISTENER__NGINX__ADDRESS".to_owned(), format!("unix:{folder_text}/nginx.sock")),
        ("LISTENER__APPLICATION__ADDRESS".to_owned(), format!("unix:{folder_text}/application.sock")),
        ("LISTENER__OPS__ADDRESS".to_owned(), format!("127.0.0.1:{}", free_port())),
        ("SITE__MAIN__PUBLIC_URL".to_owned(), format!("https://{APP}:{https}")),
        ("PROVIDER__MAIN__ISSUER".to_owned(), issuer),
        ("PROVIDER__MAIN__CLIENT_ID".to_owned(), client_id),
        ("PROVIDER__MAIN__CA_FILE".to_owned(), format!("{folder_text}/ca.pem")),
        (
            "SESSION__KEY".to_owned(),
            portcullis::seal::MasterKey::from_bytes(portcullis::random::bytes().unwrap()).to_base64().to_string(),
        ),
    ];
    match plan.authentication {
        None => all.push(("PROVIDER__MAIN__AUTHENTICATION".to_owned(), "none".to_owned())),
        Some((method, secret)) => {
            all.push(("PROVIDER__MAIN__AUTHENTICATION".to_owned(), method.to_owned()));
            all.push(("PROVIDER__MAIN__CLIENT_SECRET".to_owned(), secret.to_owned()));
        }
    }
    if let Some(redis) = redis {
        all.push(("STORE__KIND".to_owned(), "redis".to_owned()));
        all.push(("STORE__REDIS__URL".to_owned(), format!("unix://{}", redis.socket().display())));
    } else {
        all.push(("STORE__KIND".to_owned(), "memory".to_owned()));
    }
    all.extend(plan.settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    all.into_iter().map(|(key, value)| (format!("PORTCULLIS_{key}"), value)).collect()
}

async fn start_provider(plan: &Plan, certificates: &Certificates, https: u16) -> DevIdp {
    let callback = format!("https://{APP}:{https}/auth/callback");
    let client = match plan.authentication {
        None => Client::public("gateway", &callback),
        Some(("client_secret_basic", secret)) => Client::basic("gateway", secret, &callback),
        Some((_, secret)) => Client::post("gateway", secret, &callback),
    };
    let client = client.returning_to(&format!("https://{APP}:{https}/auth/signed-out"));
    let mut settings = plan.provider.clone();
    settings.clients = vec![client];
    settings.tls = Some(certificates.for_provider());
    dev_idp::start(settings).await.unwrap()
}

/// A port that nobody listens on just now.
///
/// Below the ports that the system gives to outgoing connections, and no two tests of this process get the same.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = FIRST_PORT + u16::try_from(std::process::id() % 100).unwrap() * 100;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

const FIRST_PORT: u16 = 18_000;

/// Waits until something holds.
pub(crate) async fn eventually<F>(what: &str, holds: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    within(PATIENCE, what, holds).await;
}

/// The same where how long it may take is what the test is about.
pub(crate) async fn within<F>(limit: Duration, what: &str, mut holds: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let deadline = Instant::now() + limit;
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        pause.tick().await;
    }
}
