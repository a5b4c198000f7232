//! The states of a connection, and which frames have a place in which.

use std::fmt;

use super::control::Control;
use super::error::{Rule, Violation};
use super::frame::Frame;
use super::secure::Side;
use super::tag::Tag;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The banner is awaited.
    Banner,
    /// HELLO is awaited.
    Hello,
    /// Who the client is.
    Authenticating,
    /// The peer's AUTH_SIGNATURE is awaited.
    Signature,
    /// CLIENT_IDENT was sent.
    Identifying,
    /// SESSION_RECONNECT was sent.
    Reconnecting,
    /// The client's CLIENT_IDENT or SESSION_RECONNECT is awaited.
    Accepting,
    /// WAIT was sent: the client is to close this connection.
    Superseded,
    /// Messages pass.
    Ready,
}

impl State {
    /// Whether a frame has a place in this state, coming from the other side.
    pub(super) fn admits(self, side: Side, tag: Tag) -> bool {
        match (self, side) {
            (Self::Banner | Self::Superseded, _) => false,
            (Self::Hello, _) => tag == Tag::Hello,
            (Self::Authenticating, Side::Initiator) => {
                matches!(tag, Tag::AuthBadMethod | Tag::AuthReplyMore | Tag::AuthDone)
            }
            (Self::Authenticating, Side::Acceptor) => {
                matches!(tag, Tag::AuthRequest | Tag::AuthRequestMore)
            }
            (Self::Signature, _) => tag == Tag::AuthSignature,
            (Self::Identifying, _) => {
                matches!(tag, Tag::ServerIdent | Tag::IdentMissingFeatures | Tag::Wait)
            }
            (Self::Reconnecting, _) => matches!(
                tag,
                Tag::SessionReconnectOk
                    | Tag::SessionReset
                    | Tag::SessionRetry
                    | Tag::SessionRetryGlobal
                    | Tag::Wait
            ),
            (Self::Accepting, _) => matches!(tag, Tag::ClientIdent | Tag::SessionReconnect),
            (Self::Ready, _) => {
                matches!(tag, Tag::Message | Tag::Ack | Tag::Keepalive2 | Tag::Keepalive2Ack)
            }
        }
    }

    /// What a control frame says that comes from the other side, if it has a place in this state.
    pub(super) fn read(self, side: Side, frame: &Frame<'_>) -> Result<Control, Violation> {
        match self.admits(side, frame.tag) {
            true => Control::of(frame.tag, &frame.segments[0]),
            false => Err(Violation { tag: Some(frame.tag), rule: Rule::Unexpected }),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Banner => "awaiting the banner",
            Self::Hello => "awaiting HELLO",
            Self::Authenticating => "authenticating",
            Self::Signature => "awaiting AUTH_SIGNATURE",
            Self::Identifying => "awaiting SERVER_IDENT",
            Self::Reconnecting => "awaiting SESSION_RECONNECT_OK",
            Self::Accepting => "awaiting CLIENT_IDENT",
            Self::Superseded => "after WAIT",
            Self::Ready => "ready",
        })
    }
}
