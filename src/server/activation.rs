//! Sockets that were opened before the process began, as systemd does (`sd_listen_fds(3)`), so that they outlive a restart.
//!
//! Invariant: each of them becomes the one listener whose address it has, or the start fails. Whom a listener believes
//! follows from its address in the settings, so no socket takes the place of another one.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    process,
};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::{
    inbound,
    server::{Address, ListenerConfig, listener::Bound},
};

/// The sockets, as far as no listener has taken them.
#[derive(Debug)]
pub struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    /// As the unit calls it, or its number.
    name: String,
    listener: Opened,
}

#[derive(Debug)]
enum Opened {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl Inherited {
    /// None.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Those that the environment says were handed to this very process. Asked once, before there are threads.
    ///
    /// # Errors
    /// [`Misfit`] for one that is no stream socket, or does not listen.
    pub fn of_process() -> Result<Self, Misfit> {
        if env::var("LISTEN_PID").ok() != Some(process::id().to_string()) {
            return Ok(Self::none());
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut given = ListenFd::from_env();
        let sockets = (0..given.len()).map(|number| {
            let name = names.next().map_or_else(|| format!("number {}", number + 1), str::to_owned);
            let listener = Opened::take(&mut given, number).map_err(|cause| Misfit::new(&name, cause))?;
            Ok(Socket { name, listener })
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// The socket that is meant for a listener.
    ///
    /// # Errors
    /// [`Misfit`] for one that bears its name and has another address, or lets in whom the listener must not.
    pub(super) fn take_for(&mut self, listener: &ListenerConfig) -> Result<Option<Bound>, Misfit> {
        let fits = |socket: &Socket| socket.listener.is_at(&listener.address);
        let Some(position) = self.0.iter().position(fits) else {
            let namesake = self.0.iter().find(|socket| socket.name == listener.name);
            return namesake.map_or(Ok(None), |socket| Err(Misfit::new(&socket.name, Cause::Elsewhere)));
        };
        let Socket { name, listener: opened } = self.0.remove(position);
        opened.into_bound(listener).map(Some).map_err(|cause| Misfit::new(&name, cause))
    }

    /// Whether every socket has become a listener.
    ///
    /// # Errors
    /// [`Misfit`] for the first that has not.
    pub(super) fn nothing_left(&self) -> Result<(), Misfit> {
        self.0.first().map_or(Ok(()), |socket| Err(Misfit::new(&socket.name, socket.listener.left_over())))
    }
}

impl Opened {
    fn take(given: &mut ListenFd, number: usize) -> Result<Self, Cause> {
        if let Ok(Some(listener)) = given.take_unix_listener(number) {
            let listens = SockRef::from(&listener).is_listener().map_err(Cause::System)?;
            let path = listener.local_addr().map_err(Cause::System)?.as_pathname().map(PathBuf::from);
            return path.filter(|_| listens).map(|path| Self::Unix(listener, path)).ok_or(Cause::NoListener);
        }
        let Ok(Some(listener)) = given.take_tcp_listener(number) else {
            return Err(Cause::NoListener);
        };
        let listens = SockRef::from(&listener).is_listener().map_err(Cause::System)?;
        let address = listener.local_addr().map_err(Cause::System)?;
        if listens { Ok(Self::Tcp(listener, address)) } else { Err(Cause::NoListener) }
    }

    /// Any port is the one that the system was to choose.
    fn is_at(&self, address: &Address) -> bool {
        match (self, address) {
            (Self::Tcp(_, found), Address::Tcp(wanted)) => {
                found.ip() == wanted.ip() && (found.port() == wanted.port() || wanted.port() == 0)
            }
            (Self::Unix(_, found), Address::Unix { path, .. }) => found == path,
            (Self::Tcp(..), Address::Unix { .. }) | (Self::Unix(..), Address::Tcp(_)) => false,
        }
    }

    /// The permissions are as whoever opened it has set them; they say who is believed.
    fn into_bound(self, listener: &ListenerConfig) -> Result<Bound, Cause> {
        match self {
            Self::Tcp(socket, address) => Bound::inherited_tcp(socket, address).map_err(Cause::System),
            Self::Unix(socket, path) => {
                let mode = fs::metadata(&path).map_err(Cause::System)?.permissions().mode() & 0o777;
                if mode & 0o002 != 0 && listener.kind != inbound::Listener::Ops {
                    return Err(Cause::OpenToAll);
                }
                Bound::inherited_unix(socket, path, mode).map_err(Cause::System)
            }
        }
    }

    fn left_over(&self) -> Cause {
        Cause::NoPlace(match self {
            Self::Tcp(_, address) => address.to_string(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        })
    }
}

/// A socket that was handed over and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the socket {name:?} that was handed over {cause}")]
pub struct Misfit {
    name: String,
    #[source]
    cause: Cause,
}

impl Misfit {
    fn new(name: &str, cause: Cause) -> Self {
        Self { name: name.to_owned(), cause }
    }
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("is no stream socket that listens on an address or a path")]
    NoListener,
    #[error("bears a listener's name and has another address than the settings give it")]
    Elsewhere,
    #[error("lets every user of this machine connect: whoever connects is believed to be nginx")]
    OpenToAll,
    #[error("listens on {0}, which is the address of no listener in the settings")]
    NoPlace(String),
    #[error("cannot be used: {0}")]
    System(#[source] io::Error),
}
