//! Little-endian fields, read from what a peer sent and written for it.

use super::error::Rule;

/// Of modes and methods there are a handful. With more a list that is read would be a copy of the
/// frame, which is kept besides.
pub(crate) const MOST_NUMBERS: usize = 64;

/// Reads fields off the front of bytes. Nothing beyond their end is ever looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    #[cfg(test)]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn bytes(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], Rule> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Rule::Truncated(field))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Rule> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Rule::Truncated(field))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Rule> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Rule> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Rule> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Rule> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// Bytes after their length.
    pub(crate) fn blob(&mut self, field: &'static str) -> Result<&'a [u8], Rule> {
        let length = self.u32(field)?;
        self.bytes(field, length as usize)
    }

    /// Numbers after their count, which is [`MOST_NUMBERS`] at most.
    pub(crate) fn u32s(&mut self, field: &'static str) -> Result<Vec<u32>, Rule> {
        let count = self.u32(field)? as usize;
        // Before anything is allocated.
        if count > MOST_NUMBERS {
            return Err(Rule::TooMany { field, count: count as u32, most: MOST_NUMBERS as u32 });
        }
        let bytes = self.bytes(field, count * 4)?;
        Ok(bytes.as_chunks().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect())
    }
}

/// Writes the fields that [`Reader`] reads.
pub(crate) trait Writer {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn put_blob(&mut self, bytes: &[u8]) {
        self.put_u32(bytes.len() as u32);
        self.put(bytes);
    }

    fn put_u32s(&mut self, values: &[u32]) {
        self.put_u32(values.len() as u32);
        for value in values {
            self.put_u32(*value);
        }
    }
}

impl Writer for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
