//! Binding and accepting. A Unix socket appears under its name only once its permissions are set.

use std::{
    fs::{self, Permissions},
    io,
    net::{self, IpAddr, SocketAddr},
    os::unix::{
        self,
        fs::{MetadataExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tracing::warn;

use crate::{
    drain::Drain,
    inbound::{Listener, Peer, Trust},
    server::{
        Address, Limits, connection,
        front::Front,
        tls::{Secured, Tls},
    },
};

/// A bound listener.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    /// Opened by whoever started this process, and open when it has ended: the next one goes on with it.
    inherited: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// A Unix socket's file, removed when it is no more listened on, unless another process has put its own there, or
/// somebody else owns it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    mode: u32,
    inode: Option<u64>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = self.inode.take();
        if ours.is_some_and(|inode| fs::metadata(&self.path).is_ok_and(|found| found.ino() == inode)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> Address {
        match &self.socket {
            Socket::Tcp(_, address) => Address::Tcp(*address),
            Socket::Unix(_, file) => Address::Unix { path: file.path.clone(), mode: file.mode },
        }
    }

    /// A TCP socket that was opened before this process began.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn inherited_tcp(listener: net::TcpListener, address: SocketAddr) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { socket: Socket::Tcp(TcpListener::from_std(listener)?, address), inherited: true })
    }

    /// A Unix socket that was opened before this process began; its file is not ours.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn inherited_unix(listener: unix::net::UnixListener, path: PathBuf, mode: u32) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let file = SocketFile { path, mode, inode: None };
        Ok(Self { socket: Socket::Unix(UnixListener::from_std(listener)?, file), inherited: true })
    }
}

/// What serving a listener takes.
#[derive(Debug)]
pub struct Serving {
    /// What the listener is for.
    pub kind: Listener,
    /// Whom it believes.
    pub trust: Trust,
    /// The site whose application asks here.
    pub site: Option<String>,
    /// Whether nginx passes on client certificates.
    pub certificates: bool,
    /// Its TLS, where it has any.
    pub tls: Option<Arc<Tls>>,
    /// The limits of its connections.
    pub limits: Limits,
    /// Who answers.
    pub front: Arc<Front>,
    /// Where tasks are.
    pub drain: Drain,
}

/// Binds an address.
///
/// # Errors
/// The system's own.
pub fn bind(address: &Address) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => {
            let listener = net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let address = listener.local_addr()?;
            Ok(Bound { socket: Socket::Tcp(listener, address), inherited: false })
        }
        Address::Unix { path, mode } => bind_unix(path, *mode),
    }
}

/// A socket that nobody listens on any more is replaced; one that answers is another gateway's, and stays.
fn bind_unix(path: &Path, mode: u32) -> io::Result<Bound> {
    if is_listened_on(path) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on that socket"));
    }
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", process::id()));
    let hidden = PathBuf::from(hidden);
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    fs::set_permissions(&hidden, Permissions::from_mode(mode))?;
    let inode = Some(fs::metadata(&hidden)?.ino());
    fs::rename(&hidden, path)?;
    let file = SocketFile { path: path.to_owned(), mode, inode };
    Ok(Bound { socket: Socket::Unix(listener, file), inherited: false })
}

/// Whether a living process holds the socket: one that a crash left behind refuses, one that is held says that it is of
/// another type. A connection of the right type could wait for ever. Somebody else's that we may not ask counts as free.
fn is_listened_on(path: &Path) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    let free = |error: io::Error| matches!(error.kind(), NotFound | ConnectionRefused | PermissionDenied);
    !asked.is_err_and(free)
}

/// Accepts connections until the stop, and those that had come by then; a full listener closes what it cannot take.
pub async fn accept(bound: Bound, serving: Arc<Serving>) {
    let places = Arc::new(Semaphore::new(serving.limits.connections));
    let stopping = serving.drain.clone();
    tokio::select! {
        () = stopping.stopping() => {}
        () = accept_within(&bound, &serving, &places) => {}
    }
    accept_rest(bound, &serving, &places);
}

/// Accepts connections for ever.
pub async fn accept_forever(bound: &Bound, serving: &Arc<Serving>) {
    let places = Arc::new(Semaphore::new(serving.limits.connections));
    accept_within(bound, serving, &places).await;
}

async fn accept_within(bound: &Bound, serving: &Arc<Serving>, places: &Arc<Semaphore>) {
    loop {
        let accepted = match &bound.socket {
            Socket::Tcp(listener, _) => listener.accept().await.map(|(stream, peer)| {
                begin_tcp(serving, places, stream, peer.ip());
            }),
            Socket::Unix(listener, _) => listener.accept().await.map(|(stream, _)| begin_unix(serving, places, stream)),
        };
        if let Err(error) = accepted {
            warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Takes the connections that the system has taken for us: closing the socket would break them. First a Unix socket's file
/// goes, so that no more come. The connections of a socket that stays open wait for the next process.
fn accept_rest(bound: Bound, serving: &Arc<Serving>, places: &Arc<Semaphore>) {
    if bound.inherited {
        return;
    }
    match bound.socket {
        Socket::Tcp(listener, _) => {
            let Ok(listener) = listener.into_std() else { return };
            while let Ok((stream, peer)) = listener.accept() {
                if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                    begin_tcp(serving, places, stream, peer.ip());
                }
            }
        }
        Socket::Unix(listener, file) => {
            drop(file);
            let Ok(listener) = listener.into_std() else { return };
            while let Ok((stream, _)) = listener.accept() {
                if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)) {
                    begin_unix(serving, places, stream);
                }
            }
        }
    }
}

fn begin_tcp(serving: &Arc<Serving>, places: &Arc<Semaphore>, stream: TcpStream, peer: IpAddr) {
    let _ = stream.set_nodelay(true);
    let Some(place) = place(serving, places) else {
        return;
    };
    match serving.tls.clone() {
        None => start(serving, serve(Arc::clone(serving), Peer::Address(peer), stream, place)),
        Some(tls) => start(serving, serve_tls(Arc::clone(serving), tls, peer, stream, place)),
    }
}

fn begin_unix(serving: &Arc<Serving>, places: &Arc<Semaphore>, stream: UnixStream) {
    if let Some(place) = place(serving, places) {
        start(serving, serve(Arc::clone(serving), Peer::Unix, stream, place));
    }
}

/// A place for one connection, if there is one left.
fn place(serving: &Serving, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let place = Arc::clone(places).try_acquire_owned();
    place.inspect_err(|_| serving.front.gateway().telemetry().metrics().connection_refused()).ok()
}

fn start(serving: &Serving, connection: impl Future<Output = ()> + Send + 'static) {
    if serving.kind == Listener::Ops {
        tokio::spawn(connection);
    } else {
        serving.drain.spawn(connection);
    }
}

async fn serve<S>(serving: Arc<Serving>, peer: Peer, stream: S, _place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    connection::serve(&serving, peer, stream, None).await;
}

/// A connection has its place from the first moment of its handshake.
async fn serve_tls(
    serving: Arc<Serving>,
    tls: Arc<Tls>,
    address: IpAddr,
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
) {
    let soon_over = async {
        serving.drain.stopping().await;
        tokio::time::sleep(LAST_HANDSHAKE).await;
    };
    let secured = tokio::select! {
        secured = tls.secure(stream, address) => secured,
        () = soon_over => None,
    };
    if let Some(Secured { stream, peer, replaced }) = secured {
        connection::serve(&serving, peer, stream, Some(&replaced)).await;
    }
}

/// How long a handshake may take yet once the stop has begun.
const LAST_HANDSHAKE: Duration = Duration::from_millis(500);
/// How long accepting rests after the system refused, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;

    #[tokio::test]
    async fn a_socket_is_taken_over_from_the_dead_and_not_from_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let first = bind_unix(&path, 0o660).unwrap();
        assert_eq!(bind_unix(&path, 0o660).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(first);
        assert!(!path.exists());
        drop(unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after a crash");
        let mode = bind_unix(&path, 0o600).map(|_bound| fs::metadata(&path).unwrap().permissions().mode());
        assert_eq!(mode.unwrap() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_a_successors_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nginx.sock");
        let first = bind_unix(&path, 0o660).unwrap();
        fs::remove_file(&path).unwrap();
        drop(unix::net::UnixListener::bind(&path).unwrap());
        let second = bind_unix(&path, 0o660).unwrap();
        drop(first);
        assert!(is_listened_on(&path));
        drop(second);
        assert!(!path.exists());
    }
}
