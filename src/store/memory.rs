//! The embedded store.

/// Sessions in this process.
#[derive(Debug)]
pub struct Memory;
