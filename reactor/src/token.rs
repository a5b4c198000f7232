//! Names of what a loop holds, safe against reuse.

use std::fmt;

/// Names one stream or listener of one loop.
///
/// A slab key and a generation: when a key is given to another, the old token no longer matches,
/// so an event for something that is gone is recognised and ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    key: u32,
    generation: u32,
}

/// Given to the loop's own doorbell. No slab key is this large.
pub(crate) const DOORBELL: Token = Token { key: u32::MAX, generation: u32::MAX };

impl Token {
    pub(crate) fn new(key: usize, generation: u32) -> Self {
        // A process has far fewer than 2^32 - 1 descriptors, so the key always fits.
        debug_assert!(key < u32::MAX as usize);
        Self { key: key as u32, generation }
    }

    /// The slab key: small, dense, and given to another once this one is gone.
    pub fn key(self) -> usize {
        self.key as usize
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }
}

impl From<Token> for mio::Token {
    fn from(token: Token) -> Self {
        Self((token.generation as usize) << 32 | token.key as usize)
    }
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Self {
        Self { key: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.key, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_pass_through_the_kernel_unchanged() {
        for token in [Token::new(0, 0), Token::new(7, u32::MAX), Token::new(1 << 20, 9), DOORBELL] {
            assert_eq!(Token::from(mio::Token::from(token)), token);
        }
    }
}
