//! Randomness: the only file that draws it. Pure code takes what was drawn as an argument.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Draws `N` random bytes from the operating system's generator.
///
/// # Errors
/// [`NoRandomness`] when the system refuses to give any; nothing can be sealed or named then.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut drawn = [0; N];
    SystemRandom::new().fill(&mut drawn).map_err(|_| NoRandomness)?;
    Ok(drawn)
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(bytes::<32>(), bytes::<32>());
    }
}
