//! The only reader of randomness.

use aws_lc_rs::{error::Unspecified, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A fresh token of 256 bits: 43 URL-safe characters.
///
/// # Errors
///
/// When the system has no randomness to give.
pub(crate) fn token() -> Result<String, Unspecified> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
