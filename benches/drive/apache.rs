//! Apache with `mod_auth_openidc`, as Debian packages it: a small file behind the module, and the same file without it.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use crate::{
    load::{Answers, Load},
    others::Others,
    process::Watched,
    row::{Header, Row, header},
    servers::{CLIENT, PAGE, Redis, Starter, Store, free_address, secret},
    stage::{self, Stage},
    visitor::{self, USER_AGENT},
};

/// Whether Apache is there, and the module.
pub(crate) fn is_installed() -> bool {
    stage::is_installed("apache2") && Path::new(MODULES).join("mod_auth_openidc.so").is_file()
}

/// Starts one with each cache, and signs in.
pub(crate) fn set(starter: &Starter<'_>, redis: &Redis) -> anyhow::Result<Others> {
    let (sites, secret) = ([free_address()?, free_address()?], secret()?);
    let callbacks = sites.map(|site| format!("http://{site}{CALLBACK}"));
    let issuer = starter.provider("dev-idp-apache", &callbacks, Some(&secret))?;
    let_through(starter.stage)?;
    let start = |store, site, cache: &str| Apache::start(starter, store, site, [&issuer, &secret, cache]);
    let shared = start(Store::SharedMemory, sites[0], "OIDCCacheType shm")?;
    let cache = format!("OIDCCacheType redis\nOIDCRedisCacheServer {}", redis.address);
    let over_redis = start(Store::Redis, sites[1], &cache)?;
    let mut gated_over_redis = over_redis.gated();
    gated_over_redis.watched.push(redis.watched.clone());
    Ok(Others {
        rows: vec![shared.gated(), shared.open(), gated_over_redis],
        servers: [shared, over_redis].into_iter().map(|apache| (apache.name, apache.watched)).collect(),
    })
}

/// An Apache at which somebody is signed in.
struct Apache {
    name: String,
    store: Store,
    site: SocketAddr,
    cookie: String,
    watched: Watched,
}

impl Apache {
    fn start(
        starter: &Starter<'_>,
        store: Store,
        site: SocketAddr,
        [issuer, secret, cache]: [&str; 3],
    ) -> anyhow::Result<Self> {
        let (stage, name) = (starter.stage, format!("apache-{}", store.label()));
        let folder = stage.path(&name);
        for place in ["gate", "open"] {
            fs::create_dir_all(folder.join("www").join(place))?;
            fs::write(folder.join("www").join(place).join(PAGE), "ok\n")?;
        }
        let settings = include_str!("apache.conf")
            .replace("{folder}", &folder.display().to_string())
            .replace("{user}", USER)
            .replace("{modules}", MODULES)
            .replace("{processes}", &PROCESSES.to_string())
            .replace("{per_process}", &THREADS.to_string())
            .replace("{threads}", &(PROCESSES * THREADS).to_string())
            .replace("{site}", &site.to_string())
            .replace("{issuer}", issuer)
            .replace("{client}", CLIENT)
            .replace("{secret}", secret)
            .replace("{callback}", CALLBACK)
            .replace("{passphrase}", secret)
            .replace("{cache}", cache);
        fs::write(folder.join("apache.conf"), settings)?;
        let mut command = Command::new("apache2");
        let id = stage.start(&name, command.arg("-DFOREGROUND").arg("-f").arg(folder.join("apache.conf")))?;
        let watched = stage.wait_until(&name, || {
            Watched::new("apache", id).ok().filter(|apache| apache.processes() == 1 + PROCESSES)
        })?;
        let cookie = visitor::signed_in(stage, &format!("http://{site}/gate/{PAGE}").parse()?)?;
        Ok(Self { name, store, site, cookie, watched })
    }

    fn gated(&self) -> Row {
        let headers = vec![header("User-Agent", USER_AGENT), header("Cookie", &self.cookie)];
        self.row("j", "file, Apache, mod_auth_openidc", self.store, "gate", headers)
    }

    fn open(&self) -> Row {
        let headers = vec![header("User-Agent", USER_AGENT)];
        self.row("i", "file, Apache, no gate", Store::Nowhere, "open", headers)
    }

    fn row(&self, letter: &'static str, what: &str, store: Store, place: &str, headers: Vec<Header>) -> Row {
        let url = format!("http://{}/{place}/{PAGE}", self.site);
        Row::new(letter, what, store, Load::new(url, headers, Answers::Allowed), vec![self.watched.clone()])
    }
}

/// Apache's workers are never root. Where we are, the user that Debian made for them may pass through the run's folder;
/// nobody else may.
fn let_through(stage: &Stage) -> anyhow::Result<()> {
    if fs::metadata("/proc/self")?.uid() == 0 {
        let folder = stage.path("");
        stage.run("chgrp", Command::new("chgrp").arg(USER).arg(&folder))?;
        fs::set_permissions(folder, Permissions::from_mode(0o710))?;
    }
    Ok(())
}

const MODULES: &str = "/usr/lib/apache2/modules";
const USER: &str = "www-data";
const CALLBACK: &str = "/gate/callback";
/// As many as Debian starts.
const PROCESSES: usize = 2;
/// More than wrk has connections, should one process get them all: where none is idle, Apache hangs up on whom it can.
const THREADS: usize = 64;
