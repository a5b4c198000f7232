//! Tags: what a frame is.

use std::fmt;

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// What a frame is; its first byte.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Tag {
            $($(#[$doc])* $name = $value,)*
        }

        impl Tag {
            /// Every tag there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name that Ceph's documentation gives it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl TryFrom<u8> for Tag {
            /// The byte, which is none.
            type Error = u8;

            fn try_from(byte: u8) -> Result<Self, u8> {
                match byte {
                    $($value => Ok(Self::$name),)*
                    _ => Err(byte),
                }
            }
        }
    };
}

tags! {
    /// Who speaks, and how it sees the other's address.
    Hello = 1, "HELLO";
    /// The client begins to authenticate.
    AuthRequest = 2, "AUTH_REQUEST";
    /// The server does not take the method; which it would.
    AuthBadMethod = 3, "AUTH_BAD_METHOD";
    /// The server's next step of a method of several.
    AuthReplyMore = 4, "AUTH_REPLY_MORE";
    /// The client's.
    AuthRequestMore = 5, "AUTH_REQUEST_MORE";
    /// The server is convinced.
    AuthDone = 6, "AUTH_DONE";
    /// Proof that nobody changed what was said so far.
    AuthSignature = 7, "AUTH_SIGNATURE";
    /// The client begins a session.
    ClientIdent = 8, "CLIENT_IDENT";
    /// The server has begun it.
    ServerIdent = 9, "SERVER_IDENT";
    /// The client lacks features that the server needs.
    IdentMissingFeatures = 10, "IDENT_MISSING_FEATURES";
    /// The client goes on with a session.
    SessionReconnect = 11, "SESSION_RECONNECT";
    /// The server knows no such session.
    SessionReset = 12, "SESSION_RESET";
    /// The server has seen a later attempt.
    SessionRetry = 13, "SESSION_RETRY";
    /// The server has seen a later connection of this client.
    SessionRetryGlobal = 14, "SESSION_RETRY_GLOBAL";
    /// The session goes on.
    SessionReconnectOk = 15, "SESSION_RECONNECT_OK";
    /// The server's own connection will do.
    Wait = 16, "WAIT";
    /// A message.
    Message = 17, "MESSAGE";
    /// Are you there?
    Keepalive2 = 18, "KEEPALIVE2";
    /// I am.
    Keepalive2Ack = 19, "KEEPALIVE2_ACK";
    /// Messages up to this one have come.
    Ack = 20, "ACK";
    /// The client asks for compression.
    CompressionRequest = 21, "COMPRESSION_REQUEST";
    /// The server's answer.
    CompressionDone = 22, "COMPRESSION_DONE";
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_tags_and_back() {
        for byte in 0..=u8::MAX {
            match Tag::try_from(byte) {
                Ok(tag) => assert_eq!(tag as u8, byte),
                Err(none) => assert_eq!(none, byte),
            }
        }
        assert_eq!(Tag::ALL.len(), 22);
    }
}
