//! The channel on which gateways hear each other: one subscription, on a connection of its own.
//!
//! Publishing takes the connections that all operations share, or happens within the very script that changed something.

use deadpool_redis::redis::{Client, aio::PubSubStream};
use futures_util::stream::StreamExt;

use super::reply;
use crate::store::{StoreError, notice::Notice};

/// What is said on the channel from now on.
pub struct Ear(PubSubStream);

impl Ear {
    /// Subscribes; what is said after that is heard, until the connection ends.
    pub(super) async fn open(client: &Client, channel: &str) -> Result<Self, StoreError> {
        let unreachable = |error| reply::failure(&error).error;
        let mut subscription = client.get_async_pubsub().await.map_err(unreachable)?;
        subscription.subscribe(channel).await.map_err(unreachable)?;
        Ok(Self(subscription.into_on_message()))
    }

    /// The next thing that is said; nothing once the connection has ended. What is no notice is passed over.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            let message = self.0.next().await?;
            if let Some(notice) = Notice::parse(message.get_payload_bytes()) {
                return Some(notice);
            }
        }
    }
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ear")
    }
}
