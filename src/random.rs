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
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_million_nonces_differ() {
        let drawn: HashSet<[u8; 12]> = (0..1_000_000).filter_map(|_| bytes().ok()).collect();
        assert_eq!(drawn.len(), 1_000_000);
    }
}
