//! every reply
