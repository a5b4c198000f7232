//! Cookies: names of sessions.

/// Where the names of sessions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cookies {
    /// The system's random numbers: nobody guesses the name of another's session.
    #[default]
    Random,
    /// One after the other from this one: for tests that want the same bytes every time.
    From(u64),
}

impl Cookies {
    /// One that has not been given before; never 0, which means none.
    pub(crate) fn give(&mut self) -> u64 {
        loop {
            let cookie = match self {
                Self::Random => {
                    let mut bytes = [0; 8];
                    // It fails only where the system has no random numbers at all, and then
                    // nothing that this program does is safe.
                    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
                    u64::from_le_bytes(bytes)
                }
                Self::From(next) => {
                    *next = next.wrapping_add(1);
                    *next
                }
            };
            if cookie != 0 {
                return cookie;
            }
        }
    }
}
