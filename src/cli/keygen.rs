//! `portcullis keygen`: a master key, drawn from the operating system.

use zeroize::Zeroizing;

use crate::{random, seal::MasterKey};

/// 32 random bytes, in the form that the settings take.
///
/// # Errors
/// When the system gives no randomness.
pub(super) fn keygen() -> anyhow::Result<Zeroizing<String>> {
    Ok(MasterKey::from_bytes(random::bytes()?).to_base64())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;

    #[test]
    fn what_is_made_is_taken_and_never_the_same() {
        let key = keygen().unwrap();
        assert!(MasterKey::parse(&key).is_ok());
        assert_ne!(*key, *keygen().unwrap());
    }
}
