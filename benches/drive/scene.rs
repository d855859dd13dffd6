//! What is measured, started and ready: gateways with somebody signed in and with many, and bare servers beside them.

use anyhow::{Context, ensure};
use url::Url;

use crate::{
    Programs,
    load::{Answers, Load, Pace},
    memory::{self, Memory},
    others,
    population::{self, Population, Size},
    process::Watched,
    revocation::{self, Delays},
    row::{Header, Row, header},
    servers::{Cache, Front, Gateway, PAGE, Redis, Server, Site, Starter, Store, free_address},
    sessions::{Maker, Model},
    stage::Stage,
    start,
    visitor::{self, Reply, USER_AGENT},
};

/// What is measured.
pub(crate) struct Scene {
    /// The measurements of a round; what is compared stands side by side.
    pub(crate) rows: Vec<Row>,
    /// The servers, by name.
    pub(crate) servers: Vec<(String, Watched)>,
    /// What was measured before the rounds.
    pub(crate) before: Before,
}

/// What is measured once, before the rounds.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    /// From the gateway's start until it is ready, in milliseconds.
    pub(crate) start_ms: f64,
    /// What many sessions take, fewest first.
    pub(crate) sizes: Vec<Size>,
    /// What a gateway holds in memory.
    pub(crate) memory: Memory,
    /// How long an ended session is good elsewhere.
    pub(crate) delays: Delays,
}

impl Scene {
    /// Starts everything, signs in, makes sessions, and makes sure that bare servers answer as the gateway does, to the
    /// byte.
    pub(crate) fn set(stage: &Stage, programs: &Programs, sizes: &[u32], say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let starter = Starter::new(stage, programs)?;
        say("starting the gateway, again and again");
        let start_ms = start::milliseconds(&starter)?;
        say("starting everything");
        let redis = starter.redis("redis")?;
        let addresses = [free_address()?, free_address()?];
        let callbacks = addresses.map(|site| format!("http://{site}/auth/callback"));
        let issuer = starter.provider("dev-idp", &callbacks, None)?;
        let [memory_site, site] = addresses.map(|address| Site { address, issuer: &issuer });
        let alone = Visited::new(&starter, Store::Memory, memory_site, &redis)?;
        let shared = Visited::new(&starter, Store::Redis, site, &redis)?;
        let bare = starter.bare(&alone.reply, None)?;
        ensure_equal(&bare, &alone.reply)?;
        let front = starter.front(&bare, free_address()?)?;
        let many = Many::new(&starter, &shared, site)?;
        let crowd = Crowd::gather(&starter, &many, sizes, say)?;
        let (memory, delays) = many.measure_once(&starter, &redis, say)?;
        let others = others::set(&starter, &redis, say);

        let mut rows = alone.rows((&bare, &front));
        rows.extend(shared.rows_with_redis(&redis));
        rows.extend(crowd.rows());
        rows.extend(others.rows);
        for row in rows.iter_mut().filter(|row| row.store == Store::Redis) {
            row.counted.get_or_insert_with(|| redis.socket.clone());
        }
        let before = Before { start_ms, sizes: crowd.sizes(), memory, delays };
        let mut servers: Vec<_> = [alone.gateway.server, shared.gateway.server, bare].map(Server::named).into();
        servers.push(("redis".to_owned(), redis.watched));
        servers.extend(crowd.into_servers());
        servers.extend(others.servers);
        Ok(Self { rows, servers, before })
    }
}

/// What many sessions are like.
struct Many<'a> {
    maker: Maker,
    /// Of a sign-in of its own: where one of them is ended, its tokens are revoked, and all have the same.
    model: Model,
    reply: &'a Reply,
    site: Site<'a>,
}

impl<'a> Many<'a> {
    fn new(starter: &Starter<'_>, like: &'a Visited, site: Site<'a>) -> anyhow::Result<Self> {
        let maker = Maker::new(&like.gateway.settings, &starter.key)?;
        let model = maker.model(&visitor::signed_in(starter.stage, &like.front.page)?)?;
        Ok(Self { maker, model, reply: &like.reply, site })
    }

    /// What needs no rounds.
    fn measure_once(
        &self,
        starter: &Starter<'_>,
        redis: &Redis,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<(Memory, Delays)> {
        let cookies = self.maker.make(memory::SESSIONS, &self.model, say)?;
        say("asking for sessions that a gateway is to remember");
        let memory = memory::measure(starter, self.site, redis, &cookies)?;
        say("ending sessions at one gateway and asking another");
        let mark = starter.stage.mark();
        let mut replicas = Vec::new();
        for name in ["gateway-here", "gateway-there"] {
            let replica = starter.gateway(name, (Store::Redis, Cache::Shipped), self.site, redis)?.server.verify;
            memory::wait_until_remembered(starter.stage, redis, &replica, &cookies[0])?;
            replicas.push(replica);
        }
        let delays = revocation::measure([&replicas[0], &replicas[1]], &cookies[..revocation::REVOCATIONS])?;
        starter.stage.end_since(mark);
        Ok((memory, delays))
    }
}

/// A gateway at which somebody is signed in, behind an nginx.
struct Visited {
    gateway: Gateway,
    front: Front,
    cookie: String,
    reply: Reply,
}

impl Visited {
    fn new(starter: &Starter<'_>, store: Store, site: Site<'_>, redis: &Redis) -> anyhow::Result<Self> {
        let name = format!("gateway-{}", store.label());
        let gateway = starter.gateway(&name, (store, Cache::Shipped), site, redis)?;
        let front = starter.front(&gateway.server, site.address)?;
        let cookie = visitor::signed_in(starter.stage, &front.page)?;
        let verify = &gateway.server.verify;
        let reply = allowed(verify, &cookie)?;
        let refusal = visitor::get(verify, &facts(Some(&forged(&cookie))))?;
        let reason = refusal.header("x-portcullis-reason");
        ensure!(reason == Some("session_malformed"), "verify answers a forged cookie with:\n{}", refusal.undated);
        Ok(Self { gateway, front, cookie, reply })
    }

    /// Beside the bare server, with and without nginx.
    fn rows(&self, bare: (&Server, &Front)) -> Vec<Row> {
        let cookie = Some(self.cookie.as_str());
        let ours = (&self.gateway.server, &self.front);
        let mut paced = [
            self.behind("m", "verify, through nginx, 5,000/s", ours),
            self.behind("n", "bare, through nginx, 5,000/s", bare),
        ];
        for row in &mut paced {
            row.load.pace = Pace::Fixed(PER_SECOND);
        }
        let mut rows = vec![
            direct("a", "verify, signed in", ours.0, &facts(cookie), Answers::Allowed),
            direct("e", "bare", bare.0, &facts(cookie), Answers::Allowed),
            direct("c", "verify, no cookie", ours.0, &facts(None), Answers::Refused),
            direct("d", "verify, forged cookie", ours.0, &facts(Some(&forged(&self.cookie))), Answers::Refused),
            self.open(),
            self.behind("b", "verify, signed in, through nginx", ours),
            self.behind("g", "bare, through nginx", bare),
        ];
        rows.extend(paced);
        rows
    }

    /// The same with Redis, for which the bare server of before stands too: the gateway remembers the one session.
    fn rows_with_redis(&self, redis: &Redis) -> Vec<Row> {
        let (ours, cookie) = (&self.gateway.server, Some(self.cookie.as_str()));
        let mut rows = vec![
            direct("a", "verify, signed in", ours, &facts(cookie), Answers::Allowed),
            direct("c", "verify, no cookie", ours, &facts(None), Answers::Refused),
            direct("d", "verify, forged cookie", ours, &facts(Some(&forged(&self.cookie))), Answers::Refused),
            self.behind("b", "verify, signed in, through nginx", (ours, &self.front)),
        ];
        for row in &mut rows {
            row.watched.push(redis.watched.clone());
        }
        rows
    }

    /// What the browser asks nginx for.
    fn behind(&self, letter: &'static str, what: &str, (server, front): (&Server, &Front)) -> Row {
        let headers = vec![header("User-Agent", USER_AGENT), header("Cookie", &self.cookie)];
        let load = Load::new(front.page.as_str(), headers, Answers::Allowed);
        Row::new(letter, what, self.gateway.server.store, load, vec![server.watched.clone(), front.watched.clone()])
    }

    /// The file that nginx serves without asking anybody.
    fn open(&self) -> Row {
        let headers = vec![header("User-Agent", USER_AGENT)];
        let load = Load::new(self.front.open_page.as_str(), headers, Answers::Allowed);
        Row::new("h", "file, nginx, no gate", Store::Nowhere, load, vec![self.front.watched.clone()])
    }
}

/// Many sessions, few and more of them, and a bare server that reads records of one of the numbers.
struct Crowd {
    populations: Vec<Population>,
    bare: Server,
    read: u32,
}

impl Crowd {
    fn gather(starter: &Starter<'_>, many: &Many<'_>, sizes: &[u32], say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let made = |sessions: &u32| Population::new(starter, *sessions, many.site, &many.model, say);
        let populations = sizes.iter().map(made).collect::<anyhow::Result<Vec<_>>>()?;
        for population in &populations {
            let reply = allowed(&population.gateway.server.verify, &population.first_cookie()?)?;
            ensure!(reply.undated == many.reply.undated, "a session that was made is answered\n{}", reply.undated);
        }
        let read = population::usual(sizes).context("no sessions")?;
        let usual = populations.iter().find(|population| population.size.sessions == read).context("no sessions")?;
        let records = usual.records(starter)?;
        let bare = starter.bare(many.reply, Some((&usual.redis.socket, &records)))?;
        ensure_equal(&bare, many.reply)?;
        Ok(Self { populations, bare, read })
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for population in &self.populations {
            let sessions = population.size.sessions;
            let what = format!("verify, cold, {sessions} sessions");
            rows.push(population.row("l", &what, &population.gateway.server));
            if sessions == self.read {
                rows.push(population.row("f", "bare, one read", &self.bare));
            }
        }
        rows
    }

    fn sizes(&self) -> Vec<Size> {
        self.populations.iter().map(|population| population.size.clone()).collect()
    }

    fn into_servers(self) -> Vec<(String, Watched)> {
        let bare = self.bare.named();
        self.populations.into_iter().flat_map(Population::into_servers).chain([bare]).collect()
    }
}

impl Population {
    fn row(&self, letter: &'static str, what: &str, server: &Server) -> Row {
        let load = Load::new(server.verify.as_str(), facts(None), Answers::Allowed);
        let load = Load { cookies: Some(self.cookies.clone()), ..load };
        let watched = vec![server.watched.clone(), self.redis.watched.clone()];
        let row = Row::new(letter, what, Store::Redis, load, watched);
        Row { sessions: Some(self.size.sessions), counted: Some(self.redis.socket.clone()), ..row }
    }

    fn into_servers(self) -> [(String, Watched); 2] {
        let redis = (format!("redis-{}", self.size.sessions), self.redis.watched);
        [self.gateway.server.named(), redis]
    }
}

/// What wrk asks in nginx's place.
fn direct(letter: &'static str, what: &str, server: &Server, headers: &[Header], answers: Answers) -> Row {
    let load = Load::new(server.verify.as_str(), headers.to_vec(), answers);
    Row::new(letter, what, server.store, load, vec![server.watched.clone()])
}

fn allowed(verify: &Url, cookie: &str) -> anyhow::Result<Reply> {
    let reply = visitor::get(verify, &facts(Some(cookie)))?;
    ensure!(reply.status == 200, "verify answers who is signed in with:\n{}", reply.undated);
    Ok(reply)
}

fn ensure_equal(bare: &Server, reply: &Reply) -> anyhow::Result<()> {
    let (ours, theirs) = (&reply.undated, visitor::get(&bare.verify, &facts(None))?.undated);
    ensure!(*ours == theirs, "the gateway answers\n{ours}\nand {}\n{theirs}", bare.name);
    Ok(())
}

/// What nginx would say about a visitor's request, and what it would pass on of it.
pub(crate) fn facts(cookie: Option<&str>) -> Vec<Header> {
    let mut headers = vec![
        header("X-Portcullis-Exposure", "internal"),
        header("X-Portcullis-Method", "GET"),
        header("X-Portcullis-Scheme", "http"),
        header("X-Portcullis-Host", "127.0.0.1"),
        header("X-Portcullis-Uri", &format!("/{PAGE}")),
        header("X-Portcullis-Client-Address", "127.0.0.1"),
        header("X-Portcullis-Request-Id", "00112233445566778899aabbccddeeff"),
        header("User-Agent", USER_AGENT),
    ];
    headers.extend(cookie.map(|cookie| header("Cookie", cookie)));
    headers
}

/// The same cookie with another character in the middle of its value: it still looks like one of ours.
fn forged(cookie: &str) -> String {
    let value = cookie.find('=').map_or(0, |at| at + 1);
    let (before, after) = cookie.split_at(value.midpoint(cookie.len()));
    let other = if after.starts_with('A') { 'B' } else { 'A' };
    format!("{before}{other}{}", after.get(1..).unwrap_or_default())
}

/// What nginx is asked in a second where the time of each request counts.
const PER_SECOND: u32 = 5_000;
