//! crc32c with the instructions of x86-64: eight bytes at a time, or 256 where the processor
//! multiplies polynomials in vectors.
//!
//! For what a general library does less well: short pieces, and those that end anywhere. A piece is
//! never aligned first, and bytes that are left over go four, two, one at a time.
#![allow(unsafe_code)] // Calls of what the processor was asked for, and loads of vectors.

use std::arch::x86_64::{
    __m512i, _mm_crc32_u8, _mm_crc32_u16, _mm_crc32_u32, _mm_crc32_u64, _mm_cvtsi32_si128,
    _mm_extract_epi64, _mm_set_epi64x, _mm_xor_si128, _mm512_broadcast_i32x4,
    _mm512_castsi512_si128, _mm512_clmulepi64_epi128, _mm512_extracti32x4_epi32,
    _mm512_loadu_si512, _mm512_set_epi64, _mm512_ternarylogic_epi64, _mm512_xor_si512,
    _mm512_zextsi128_si512,
};

/// Bytes of a vector.
const VECTOR: usize = 64;
/// Vectors that are worked on side by side: each waits for its product before its next.
const LANES: usize = 4;
/// Fewer bytes than this go eight at a time.
const LONG: usize = 2 * VECTOR;

/// Goes on from `crc` over more bytes; `None` if the processor has no instructions for it.
#[inline]
pub(super) fn append(crc: u32, bytes: &[u8]) -> Option<u32> {
    if bytes.len() < LONG {
        // SAFETY: the processor has what the function is compiled for.
        return is_x86_feature_detected!("sse4.2").then(|| unsafe { short(crc, bytes) });
    }
    let vectors = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("sse4.2");
    // SAFETY: likewise.
    vectors.then(|| unsafe { long(crc, bytes) })
}

#[inline]
#[target_feature(enable = "sse4.2")]
fn short(crc: u32, bytes: &[u8]) -> u32 {
    let (words, mut rest) = bytes.as_chunks();
    let crc =
        words.iter().fold(crc.into(), |crc, word| _mm_crc32_u64(crc, u64::from_le_bytes(*word)));
    let mut crc = crc as u32;
    if let Some((word, behind)) = rest.split_first_chunk() {
        (crc, rest) = (_mm_crc32_u32(crc, u32::from_le_bytes(*word)), behind);
    }
    if let Some((word, behind)) = rest.split_first_chunk() {
        (crc, rest) = (_mm_crc32_u16(crc, u16::from_le_bytes(*word)), behind);
    }
    match rest {
        [byte] => _mm_crc32_u8(crc, *byte),
        _ => crc,
    }
}

/// Folds vectors into one, each time by multiplying what lies `n` bits before with the remainder of
/// x^n, and that one to a word.
///
/// How: Gopal and others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction",
/// Intel 2009, with vectors of four times the width.
#[target_feature(enable = "avx512f,vpclmulqdq,sse4.2")]
fn long(crc: u32, bytes: &[u8]) -> u32 {
    let (vectors, tail) = bytes.as_chunks::<VECTOR>();
    let Some((first, others)) = vectors.split_first() else { return short(crc, bytes) };
    // What came before is as if it were added to the first bytes.
    let before = _mm512_zextsi128_si512(_mm_cvtsi32_si128(crc as i32));
    let mut one = _mm512_xor_si512(load(first), before);
    let (by_one, mut left) = (powers::<{ VECTOR * 8 }>(), others);
    if let Some(([second, third, fourth], others)) = others.split_first_chunk() {
        let quads;
        (quads, left) = others.as_chunks::<LANES>();
        let (mut b, mut c, mut d) = (load(second), load(third), load(fourth));
        let by = powers::<{ LANES * VECTOR * 8 }>();
        for [first, second, third, fourth] in quads {
            one = fold(one, by, load(first));
            b = fold(b, by, load(second));
            c = fold(c, by, load(third));
            d = fold(d, by, load(fourth));
        }
        let by_two = powers::<{ 2 * VECTOR * 8 }>();
        one = fold(fold(one, by_two, c), by_one, fold(b, by_two, d));
    }
    for vector in left {
        one = fold(one, by_one, load(vector));
    }
    // The four quarters of the vector become the last of them.
    let by_quarters = const { [quarter(3), quarter(2), quarter(1)] };
    let [(lo, hi), (lo2, hi2), (lo1, hi1)] = by_quarters;
    let by = _mm512_set_epi64(0, 0, hi1, lo1, hi2, lo2, hi, lo);
    let low = _mm512_clmulepi64_epi128(one, by, 0x00);
    let sum = _mm512_xor_si512(low, _mm512_clmulepi64_epi128(one, by, 0x11));
    let last = _mm_xor_si128(
        _mm_xor_si128(_mm512_castsi512_si128(sum), _mm512_extracti32x4_epi32(sum, 1)),
        _mm_xor_si128(_mm512_extracti32x4_epi32(sum, 2), _mm512_extracti32x4_epi32(one, 3)),
    );
    let crc = _mm_crc32_u64(0, _mm_extract_epi64(last, 0) as u64);
    let crc = _mm_crc32_u64(crc, _mm_extract_epi64(last, 1) as u64);
    short(crc as u32, tail)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; VECTOR]) -> __m512i {
    // SAFETY: so many bytes are there, and this load wants no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// `next`, to which `vector` is added as it is so many bits further.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn fold(vector: __m512i, by: __m512i, next: __m512i) -> __m512i {
    let low = _mm512_clmulepi64_epi128(vector, by, 0x00);
    let high = _mm512_clmulepi64_epi128(vector, by, 0x11);
    _mm512_ternarylogic_epi64(low, high, next, 0x96)
}

/// What the halves of each quarter are multiplied with to lie `BITS` further.
#[inline]
#[target_feature(enable = "avx512f")]
fn powers<const BITS: usize>() -> __m512i {
    let (low, high) = const { further(BITS) };
    _mm512_broadcast_i32x4(_mm_set_epi64x(high, low))
}

const fn quarter(count: usize) -> (i64, i64) {
    further(count * 128)
}

/// Of 16 bytes the first 8 lie 64 bits further from the end than the others. Bits are in reverse, so that a
/// product is one bit short, and a remainder is at the upper end of its 32 bits: 33 less.
const fn further(bits: usize) -> (i64, i64) {
    (power(bits + 64 - 33) as i64, power(bits - 33) as i64)
}

/// The remainder of x^n.
const fn power(n: usize) -> u32 {
    let (mut remainder, mut done) = (1 << 31, 0);
    while done < n {
        remainder = super::crc::bit(remainder);
        done += 1;
    }
    remainder
}
