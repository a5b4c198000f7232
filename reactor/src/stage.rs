//! Where bytes are read that do not stay, and wait for the moment in which they are sent on.
//!
//! A turn first reads what is ready and then sends the small pieces that this brought: receiving
//! and sending are two long paths through the kernel that push each other out of the instruction
//! cache, and who is woken by the first answer finds the next ones without sleeping in between.
//! Measured, that is 3-4% of the CPU of a small message. Large pieces are sent at once, while the
//! data cache has them.

use crate::token::Token;

/// Pieces up to this size wait for the others of their turn.
const SMALL: usize = 2 << 10;

/// So many pieces are sent together: who was read first does not wait for a thousand others.
const PIECES: usize = 32;

/// One piece that waits, by its place in the buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) to: Token,
    start: usize,
    end: usize,
}

/// The scratch buffer of a loop: so an idle connection owns none.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    buffer: Box<[u8]>,
    pieces: Vec<Piece>,
    /// The end of the last piece.
    used: usize,
}

impl Stage {
    /// Room for one read of `read_bytes` behind all pieces that may wait.
    pub(crate) fn new(read_bytes: usize) -> Self {
        let buffer = vec![0; SMALL * PIECES + read_bytes].into_boxed_slice();
        Self { buffer, pieces: Vec::with_capacity(PIECES), used: 0 }
    }

    /// As many pieces wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.pieces.len() == PIECES
    }

    /// Where the next read goes.
    pub(crate) fn spare(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.buffer[self.used..self.used + bytes]
    }

    /// The first `count` bytes of the last [`spare`](Self::spare) are for `to`: they wait, if they
    /// are few; if not, here they are.
    pub(crate) fn put(&mut self, to: Token, count: usize) -> Option<&[u8]> {
        let (start, end) = (self.used, self.used + count);
        if count > SMALL {
            return Some(&self.buffer[start..end]);
        }
        self.pieces.push(Piece { to, start, end });
        self.used = end;
        None
    }

    /// The piece at `index`, in the order in which they came, and its bytes.
    pub(crate) fn piece(&self, index: usize) -> Option<(Token, &[u8])> {
        self.pieces.get(index).map(|piece| (piece.to, &self.buffer[piece.start..piece.end]))
    }

    /// All pieces have been sent on.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_wait_in_order_and_large_ones_do_not() {
        let mut stage = Stage::new(4096);
        let to = [Token::new(1, 1), Token::new(2, 1)];
        for (n, token) in to.into_iter().enumerate() {
            stage.spare(4096)[..10].fill(n as u8);
            assert!(stage.put(token, 10).is_none());
        }
        stage.spare(4096).fill(9);
        assert_eq!(stage.put(to[0], 4096), Some(&[9; 4096][..]));
        assert_eq!(stage.piece(0), Some((to[0], &[0; 10][..])));
        assert_eq!(stage.piece(1), Some((to[1], &[1; 10][..])));
        assert_eq!(stage.piece(2), None);
        stage.clear();
        assert_eq!(stage.piece(0), None);
    }

    #[test]
    fn a_full_stage_still_has_room_for_a_whole_read() {
        let mut stage = Stage::new(100_000);
        while !stage.is_full() {
            assert_eq!(stage.spare(100_000).len(), 100_000);
            stage.put(Token::new(1, 1), SMALL);
        }
        assert_eq!(stage.spare(100_000).len(), 100_000);
    }
}
