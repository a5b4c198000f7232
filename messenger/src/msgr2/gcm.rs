//! AES-128-GCM in several steps, each over bytes that lie in one place and may go to another.
//!
//! aws-lc-rs seals and opens only what lies in one piece. A message's parts lie where their owner
//! has them, and a received one comes as reads bring it: each would have to be copied together
//! first.
#![allow(unsafe_code)] // Calls of a C library, and what it writes to a vector's free room.

use std::ffi::c_int;
use std::fmt;
use std::ptr::{self, NonNull};

use aws_lc_sys::{
    CRYPTO_library_init, EVP_CIPHER_CTX, EVP_CIPHER_CTX_ctrl, EVP_CIPHER_CTX_free,
    EVP_CIPHER_CTX_new, EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG, EVP_CipherFinal_ex,
    EVP_CipherInit_ex, EVP_CipherUpdate, EVP_aes_128_gcm,
};

/// Bytes of a key.
pub(super) const KEY: usize = 16;
/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;
/// Bytes of an authentication tag.
pub(super) const TAG: usize = 16;

/// Bytes of one call at most: it takes an `int`. A multiple of the cipher's block.
const MOST: usize = 1 << 30;

/// The cipher took no more under this nonce (64 GiB), or none was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Seal,
    Open,
}

/// A key for one purpose, and how far it is with its present unit.
pub(super) struct Gcm {
    /// Ours alone, with cipher, key and purpose set.
    context: NonNull<EVP_CIPHER_CTX>,
    purpose: Purpose,
}

// SAFETY: the context is memory of its own, which no other thread knows of, and is changed through
// `&mut` only.
unsafe impl Send for Gcm {}
// SAFETY: nothing is done with it through `&`.
unsafe impl Sync for Gcm {}

impl Gcm {
    /// `None` if there is no memory for it.
    pub(super) fn new(key: &[u8; KEY], purpose: Purpose) -> Option<Self> {
        // SAFETY: both may be called at any time; the context that they give is ours.
        let context = unsafe {
            CRYPTO_library_init();
            NonNull::new(EVP_CIPHER_CTX_new())?
        };
        let mut made = Self { context, purpose };
        // SAFETY: the cipher is a constant; the key is copied, and has as many bytes as it takes.
        let done = unsafe { made.init(EVP_aes_128_gcm(), key.as_ptr(), ptr::null()) };
        (done == 1).then_some(made)
    }

    /// Sets what is not null.
    ///
    /// # Safety
    ///
    /// As of `EVP_CipherInit_ex`: `key` and `nonce` have as many bytes as the cipher takes, or are
    /// null.
    unsafe fn init(
        &mut self,
        cipher: *const aws_lc_sys::EVP_CIPHER,
        key: *const u8,
        nonce: *const u8,
    ) -> c_int {
        let seal = c_int::from(self.purpose == Purpose::Seal);
        // SAFETY: the context is ours, and the caller answers for the rest.
        unsafe {
            EVP_CipherInit_ex(self.context.as_ptr(), cipher, ptr::null_mut(), key, nonce, seal)
        }
    }

    /// Begins a unit. Nobody may seal two under one nonce.
    pub(super) fn begin(&mut self, nonce: &[u8; NONCE]) -> Result<(), Refused> {
        // SAFETY: the nonce is copied, and has as many bytes as the cipher takes unless told
        // otherwise.
        match unsafe { self.init(ptr::null(), ptr::null(), nonce.as_ptr()) } {
            1 => Ok(()),
            _ => Err(Refused),
        }
    }

    /// Goes over more bytes, whose other form is put behind what is in `out`. When a unit is opened
    /// they are what its sender meant only once the tag [is right](Self::is_right).
    pub(super) fn append(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        out.reserve(bytes.len());
        for bytes in bytes.chunks(MOST) {
            let room = out.spare_capacity_mut();
            debug_assert!(room.len() >= bytes.len(), "there is room for all of them");
            // SAFETY: there is room for as many bytes as are read, and the two do not overlap,
            // since one is borrowed and the other is free.
            unsafe { self.update(bytes.as_ptr(), room.as_mut_ptr().cast(), bytes.len())? };
            // SAFETY: so many bytes were written.
            unsafe { out.set_len(out.len() + bytes.len()) };
        }
        Ok(())
    }

    /// The same where they lie.
    pub(super) fn in_place(&mut self, bytes: &mut [u8]) -> Result<(), Refused> {
        for bytes in bytes.chunks_mut(MOST) {
            let start = bytes.as_mut_ptr();
            // SAFETY: they may be read and written, and be the same.
            unsafe { self.update(start, start, bytes.len())? };
        }
        Ok(())
    }

    /// # Safety
    ///
    /// `count` bytes can be read at `from` and written at `to`, which are the same or do not
    /// overlap; `count` is at most [`MOST`].
    unsafe fn update(&mut self, from: *const u8, to: *mut u8, count: usize) -> Result<(), Refused> {
        let mut written = 0;
        // SAFETY: the context is ours; this cipher writes as many bytes as it reads.
        let done = unsafe {
            EVP_CipherUpdate(self.context.as_ptr(), to, &mut written, from, count as c_int)
        };
        match done {
            1 if written as usize == count => Ok(()),
            _ => Err(Refused),
        }
    }

    /// Ends a unit that is sealed, and puts its tag where it belongs.
    pub(super) fn tag(&mut self, tag: &mut [u8; TAG]) -> Result<(), Refused> {
        debug_assert_eq!(self.purpose, Purpose::Seal, "a tag is made of what is sealed");
        let get = EVP_CTRL_AEAD_GET_TAG as c_int;
        // SAFETY: the context is ours; as many bytes are written as we say that there are.
        let done = self.end()
            && 1 == unsafe {
                EVP_CIPHER_CTX_ctrl(
                    self.context.as_ptr(),
                    get,
                    TAG as c_int,
                    tag.as_mut_ptr().cast(),
                )
            };
        if done { Ok(()) } else { Err(Refused) }
    }

    /// Ends a unit that is opened; whether it is what was sealed.
    pub(super) fn is_right(&mut self, tag: &[u8; TAG]) -> bool {
        debug_assert_eq!(self.purpose, Purpose::Open, "a tag is compared with what is opened");
        let (tag, set) = (tag.as_ptr().cast_mut(), EVP_CTRL_AEAD_SET_TAG as c_int);
        // SAFETY: the context is ours; as many bytes are read as we say that there are, and none is
        // written.
        let set =
            unsafe { EVP_CIPHER_CTX_ctrl(self.context.as_ptr(), set, TAG as c_int, tag.cast()) };
        set == 1 && self.end()
    }

    /// Makes the tag, or compares it in constant time.
    fn end(&mut self) -> bool {
        let (mut rest, mut written) = ([0; 32], 0);
        // SAFETY: the context is ours; at most a block is written, and by this cipher nothing.
        1 == unsafe { EVP_CipherFinal_ex(self.context.as_ptr(), rest.as_mut_ptr(), &mut written) }
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody has it any more. The key in it is overwritten.
        unsafe { EVP_CIPHER_CTX_free(self.context.as_ptr()) };
    }
}

impl fmt::Debug for Gcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("Gcm").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    fn pair() -> (Gcm, Gcm) {
        let key = [7; KEY];
        (Gcm::new(&key, Purpose::Seal).unwrap(), Gcm::new(&key, Purpose::Open).unwrap())
    }

    #[test]
    fn in_steps_of_any_size_it_is_what_it_is_at_once() {
        let bytes: Vec<u8> = (0..5000_u32).map(|i| (i * i) as u8).collect();
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; KEY]).unwrap());
        let (mut sealer, mut opener) = pair();
        for (number, step) in [1, 3, 16, 17, 31, 256, 999, 5000].into_iter().enumerate() {
            let nonce = [number as u8; NONCE];
            let mut expected = bytes.clone();
            let tag = key.seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut expected,
            );
            let tag = tag.unwrap();
            let (mut sealed, mut opened) = (Vec::new(), Vec::new());
            sealer.begin(&nonce).unwrap();
            for (number, piece) in bytes.chunks(step).enumerate() {
                if number % 2 == 0 {
                    sealer.append(piece, &mut sealed).unwrap();
                } else {
                    let start = sealed.len();
                    sealed.extend_from_slice(piece);
                    sealer.in_place(&mut sealed[start..]).unwrap();
                }
            }
            assert!(sealed == expected, "{step}");
            let mut ours = [0; TAG];
            sealer.tag(&mut ours).unwrap();
            assert_eq!(&ours, tag.as_ref());
            opener.begin(&nonce).unwrap();
            sealed.chunks(step).for_each(|piece| opener.append(piece, &mut opened).unwrap());
            assert!(opener.is_right(tag.as_ref().try_into().unwrap()) && opened == bytes, "{step}");
        }
    }

    #[test]
    fn a_tag_that_is_wrong_in_any_bit_shows_and_a_unit_ends_with_it() {
        let (mut sealer, mut opener) = pair();
        let (nonce, mut sealed) = ([1; NONCE], Vec::new());
        sealer.begin(&nonce).unwrap();
        sealer.append(b"some bytes", &mut sealed).unwrap();
        let mut tag = [0; TAG];
        sealer.tag(&mut tag).unwrap();
        assert_eq!(sealer.append(b"more", &mut Vec::new()), Err(Refused));
        for bit in 0..TAG * 8 {
            let (mut wrong, mut opened) = (tag, Vec::new());
            wrong[bit / 8] ^= 1 << (bit % 8);
            opener.begin(&nonce).unwrap();
            opener.append(&sealed, &mut opened).unwrap();
            assert!(!opener.is_right(&wrong), "{bit}");
        }
    }
}
