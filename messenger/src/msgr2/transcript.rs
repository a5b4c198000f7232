//! What was said before authentication: each side signs what it received.

use aws_lc_rs::hmac;

use super::error::Rule;

/// Both directions of a connection so far, within a bound.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    received: Vec<u8>,
    sent: Vec<u8>,
}

impl Transcript {
    pub(super) fn received(&mut self, bytes: &[u8], limit: u32) -> Result<(), Rule> {
        append(&mut self.received, bytes, limit)
    }

    pub(super) fn sent(&mut self, bytes: &[u8], limit: u32) -> Result<(), Rule> {
        append(&mut self.sent, bytes, limit)
    }

    /// How much more may be received.
    pub(super) fn room(&self, limit: u32) -> usize {
        (limit as usize).saturating_sub(self.received.len())
    }

    /// Our signature: of what we received. Zeros without a key.
    pub(super) fn sign(&self, key: Option<&[u8]>) -> [u8; 32] {
        signature(key, &self.received)
    }

    /// Whether the peer has received what we sent.
    pub(super) fn verify(&self, key: Option<&[u8]>, carried: &[u8; 32]) -> Result<(), Rule> {
        let good = match key {
            Some(key) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                hmac::verify(&key, &self.sent, carried).is_ok()
            }
            None => *carried == [0; 32],
        };
        if good { Ok(()) } else { Err(Rule::Signature) }
    }
}

fn append(to: &mut Vec<u8>, bytes: &[u8], limit: u32) -> Result<(), Rule> {
    if to.len() + bytes.len() > limit as usize {
        return Err(Rule::UnauthenticatedBytes(limit));
    }
    to.extend_from_slice(bytes);
    Ok(())
}

fn signature(key: Option<&[u8]>, bytes: &[u8]) -> [u8; 32] {
    let mut signature = [0; 32];
    if let Some(key) = key {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        signature.copy_from_slice(hmac::sign(&key, bytes).as_ref());
    }
    signature
}
