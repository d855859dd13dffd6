//! The application behind the gate, in tests and in the demo: it shows the identity it received and remembers every
//! request that reached it, so that a test can say "the upstream was never called".
//!
//! It checks nothing: whoever reaches it was let in. `/` and every path it does not know show the page;
//! `/api/whoami` is the identity as JSON; `/ws` echoes over a WebSocket; `/slow` takes three seconds;
//! `/login-required-of-its-own` answers the application's own 401, which is none of the gate's business.

mod address;
mod identity;
mod page;
mod record;
mod reply;
mod server;
mod websocket;

pub use address::{Address, AddressError};
pub use record::{REQUESTS_KEPT, Recorded};

use std::{io, sync::Arc};

use crate::{
    record::Record,
    server::{Bound, Server},
};

/// A sample application at work. Dropping it stops it too, only without waiting.
pub struct Upstream {
    address: Address,
    record: Arc<Record>,
    server: Server,
}

/// Starts one. Port 0 takes a free port; a Unix socket must not exist yet.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn start(address: impl Into<Address>) -> io::Result<Upstream> {
    let bound = Bound::to(&address.into()).await?;
    let address = bound.address()?;
    let record = Arc::new(Record::default());
    let server = Server::start(bound, Arc::clone(&record));
    Ok(Upstream { address, record, server })
}

impl Upstream {
    /// Where it listens, with the port that was taken.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The requests that reached it, oldest first; the newest [`REQUESTS_KEPT`] of them.
    pub fn requests(&self) -> Vec<Recorded> {
        self.record.all()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.record.forget();
    }

    /// Closes the port and every connection, and returns when they are closed.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
