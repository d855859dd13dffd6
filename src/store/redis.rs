//! The Redis store.

/// Sessions in Redis.
#[derive(Debug)]
pub struct Redis;
