//! Numbers at fixed places in a message, little-endian.

/// The bytes of a field. The message must be long enough.
pub(crate) fn field<const LENGTH: usize>(message: &[u8], offset: usize) -> [u8; LENGTH] {
    let mut field = [0; LENGTH];
    field.copy_from_slice(&message[offset..offset + LENGTH]);
    field
}

/// Writes a field. The message must be long enough.
pub(crate) fn put<const LENGTH: usize>(message: &mut [u8], offset: usize, field: [u8; LENGTH]) {
    message[offset..offset + LENGTH].copy_from_slice(&field);
}

/// Text behind a length, padded with zeroes; `None` if the length leads out of its place, the
/// padding is not zero, or it is not UTF-8.
pub(crate) fn text(place: &[u8], length: usize) -> Option<&str> {
    let (text, padding) = place.split_at_checked(length)?;
    if padding.iter().any(|&byte| byte != 0) {
        return None;
    }
    std::str::from_utf8(text).ok()
}
