//! The payloads of control frames.

use bytes::Bytes;

use super::address::{EntityAddr, EntityAddrs};
use super::error::{Rule, Violation};
use super::segment::Segment;
use super::tag::Tag;
use super::wire::{Reader, Writer};

/// Which kind of entity a peer is (`CEPH_ENTITY_TYPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntityType(pub u8);

impl EntityType {
    /// A monitor.
    pub const MON: Self = Self(1);
    /// A metadata server.
    pub const MDS: Self = Self(2);
    /// An object storage daemon.
    pub const OSD: Self = Self(4);
    /// A client.
    pub const CLIENT: Self = Self(8);
    /// A manager.
    pub const MGR: Self = Self(16);
    /// An authentication service.
    pub const AUTH: Self = Self(32);
}

impl std::fmt::Display for EntityType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match *self {
            Self::MON => "mon",
            Self::MDS => "mds",
            Self::OSD => "osd",
            Self::CLIENT => "client",
            Self::MGR => "mgr",
            Self::AUTH => "auth",
            Self(other) => return write!(f, "type{other}"),
        })
    }
}

/// `CEPH_MSG_CONNECT_LOSSY`: with a fault of the connection the session ends.
pub const FLAG_LOSSY: u64 = 1;

/// See [`Tag::Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the sender is.
    pub entity: EntityType,
    /// The receiver's address, as the sender sees it.
    pub peer: EntityAddr,
}

/// See [`Tag::AuthRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRequest {
    /// 1 none, 2 cephx.
    pub method: u32,
    /// Modes of the connection, the preferred one first.
    pub modes: Vec<u32>,
    /// The method's own.
    pub payload: Bytes,
}

/// See [`Tag::AuthBadMethod`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthBadMethod {
    /// The one that was asked for.
    pub method: u32,
    /// Why not: a negative errno.
    pub result: i32,
    /// Which would do.
    pub methods: Vec<u32>,
    /// In which modes.
    pub modes: Vec<u32>,
}

/// See [`Tag::AuthDone`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthDone {
    /// The client's number in the cluster.
    pub global_id: u64,
    /// The mode from here on.
    pub mode: u32,
    /// The method's own.
    pub payload: Bytes,
}

/// See [`Tag::ClientIdent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdent {
    /// The client's addresses.
    pub addresses: EntityAddrs,
    /// Whom it wants to reach.
    pub target: EntityAddr,
    /// The number that authentication gave, or the daemon's own.
    pub gid: u64,
    /// Rises with every connection that this client initiates.
    pub global_seq: u64,
    /// Features of messages that it knows.
    pub supported: u64,
    /// Features that it needs.
    pub required: u64,
    /// [`FLAG_LOSSY`].
    pub flags: u64,
    /// Names the session on its side.
    pub cookie: u64,
}

/// See [`Tag::ServerIdent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdent {
    /// The server's addresses.
    pub addresses: EntityAddrs,
    /// Its number among its kind.
    pub gid: u64,
    /// Rises with every connection that this server initiates.
    pub global_seq: u64,
    /// Features of messages that it knows.
    pub supported: u64,
    /// Features that it needs.
    pub required: u64,
    /// [`FLAG_LOSSY`].
    pub flags: u64,
    /// Names the session on its side.
    pub cookie: u64,
}

/// See [`Tag::SessionReconnect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReconnect {
    /// The client's addresses.
    pub addresses: EntityAddrs,
    /// The session's name on the side that first connected.
    pub client_cookie: u64,
    /// And on the other.
    pub server_cookie: u64,
    /// Rises with every connection that this client initiates.
    pub global_seq: u64,
    /// Rises with every attempt within the session.
    pub connect_seq: u64,
    /// The last message that has come.
    pub msg_seq: u64,
}

/// A time, by the clock of its sender: when a keepalive was sent, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamp {
    /// Seconds.
    pub seconds: u32,
    /// And nanoseconds.
    pub nanoseconds: u32,
}

/// A control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// See [`Tag::Hello`].
    Hello(Hello),
    /// See [`Tag::AuthRequest`].
    AuthRequest(AuthRequest),
    /// See [`Tag::AuthBadMethod`].
    AuthBadMethod(AuthBadMethod),
    /// See [`Tag::AuthReplyMore`].
    AuthReplyMore(Bytes),
    /// See [`Tag::AuthRequestMore`].
    AuthRequestMore(Bytes),
    /// See [`Tag::AuthDone`].
    AuthDone(AuthDone),
    /// See [`Tag::AuthSignature`]: an HMAC-SHA256.
    AuthSignature([u8; 32]),
    /// See [`Tag::ClientIdent`].
    ClientIdent(ClientIdent),
    /// See [`Tag::ServerIdent`].
    ServerIdent(ServerIdent),
    /// See [`Tag::IdentMissingFeatures`]: those that lack.
    IdentMissingFeatures(u64),
    /// See [`Tag::SessionReconnect`].
    SessionReconnect(SessionReconnect),
    /// See [`Tag::SessionReset`]: whether all is to be forgotten, the messages too.
    SessionReset(bool),
    /// See [`Tag::SessionRetry`]: the connect_seq seen.
    SessionRetry(u64),
    /// See [`Tag::SessionRetryGlobal`]: the global_seq seen.
    SessionRetryGlobal(u64),
    /// See [`Tag::SessionReconnectOk`]: the last message that has come.
    SessionReconnectOk(u64),
    /// See [`Tag::Wait`].
    Wait,
    /// See [`Tag::Keepalive2`].
    Keepalive2(Timestamp),
    /// See [`Tag::Keepalive2Ack`]: the keepalive's own.
    Keepalive2Ack(Timestamp),
    /// See [`Tag::Ack`]: the last message that has come.
    Ack(u64),
    /// See [`Tag::CompressionRequest`].
    CompressionRequest {
        /// Whether the client wants it.
        wanted: bool,
        /// Methods, the preferred one first.
        methods: Vec<u32>,
    },
    /// See [`Tag::CompressionDone`].
    CompressionDone {
        /// Whether it is on from here on.
        on: bool,
        /// By which method.
        method: u32,
    },
}

impl Control {
    /// What kind of frame it is.
    pub const fn tag(&self) -> Tag {
        match self {
            Self::Hello(_) => Tag::Hello,
            Self::AuthRequest(_) => Tag::AuthRequest,
            Self::AuthBadMethod(_) => Tag::AuthBadMethod,
            Self::AuthReplyMore(_) => Tag::AuthReplyMore,
            Self::AuthRequestMore(_) => Tag::AuthRequestMore,
            Self::AuthDone(_) => Tag::AuthDone,
            Self::AuthSignature(_) => Tag::AuthSignature,
            Self::ClientIdent(_) => Tag::ClientIdent,
            Self::ServerIdent(_) => Tag::ServerIdent,
            Self::IdentMissingFeatures(_) => Tag::IdentMissingFeatures,
            Self::SessionReconnect(_) => Tag::SessionReconnect,
            Self::SessionReset(_) => Tag::SessionReset,
            Self::SessionRetry(_) => Tag::SessionRetry,
            Self::SessionRetryGlobal(_) => Tag::SessionRetryGlobal,
            Self::SessionReconnectOk(_) => Tag::SessionReconnectOk,
            Self::Wait => Tag::Wait,
            Self::Keepalive2(_) => Tag::Keepalive2,
            Self::Keepalive2Ack(_) => Tag::Keepalive2Ack,
            Self::Ack(_) => Tag::Ack,
            Self::CompressionRequest { .. } => Tag::CompressionRequest,
            Self::CompressionDone { .. } => Tag::CompressionDone,
        }
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => {
                out.put_u8(hello.entity.0);
                hello.peer.encode(out);
            }
            Self::AuthRequest(request) => {
                out.put_u32(request.method);
                out.put_u32s(&request.modes);
                out.put_blob(&request.payload);
            }
            Self::AuthBadMethod(bad) => {
                out.put_u32(bad.method);
                out.put_u32(bad.result.cast_unsigned());
                out.put_u32s(&bad.methods);
                out.put_u32s(&bad.modes);
            }
            Self::AuthReplyMore(payload) | Self::AuthRequestMore(payload) => out.put_blob(payload),
            Self::AuthDone(done) => {
                out.put_u64(done.global_id);
                out.put_u32(done.mode);
                out.put_blob(&done.payload);
            }
            Self::AuthSignature(signature) => out.put(signature),
            Self::ClientIdent(ident) => {
                ident.addresses.encode(out);
                ident.target.encode(out);
                let ClientIdent { gid, global_seq, supported, required, flags, cookie, .. } = ident;
                put_u64s(out, [gid, global_seq, supported, required, flags, cookie]);
            }
            Self::ServerIdent(ident) => {
                ident.addresses.encode(out);
                let ServerIdent { gid, global_seq, supported, required, flags, cookie, .. } = ident;
                put_u64s(out, [gid, global_seq, supported, required, flags, cookie]);
            }
            Self::SessionReconnect(reconnect) => {
                reconnect.addresses.encode(out);
                put_u64s(
                    out,
                    [
                        &reconnect.client_cookie,
                        &reconnect.server_cookie,
                        &reconnect.global_seq,
                        &reconnect.connect_seq,
                        &reconnect.msg_seq,
                    ],
                );
            }
            Self::SessionReset(full) => out.put_u8(u8::from(*full)),
            Self::IdentMissingFeatures(number)
            | Self::SessionRetry(number)
            | Self::SessionRetryGlobal(number)
            | Self::SessionReconnectOk(number)
            | Self::Ack(number) => out.put_u64(*number),
            Self::Wait => {}
            Self::Keepalive2(time) | Self::Keepalive2Ack(time) => {
                out.put_u32(time.seconds);
                out.put_u32(time.nanoseconds);
            }
            Self::CompressionRequest { wanted, methods } => {
                out.put_u8(u8::from(*wanted));
                out.put_u32s(methods);
            }
            Self::CompressionDone { on, method } => {
                out.put_u8(u8::from(*on));
                out.put_u32(*method);
            }
        }
    }

    /// Reads the payload of a control frame. What later versions append is skipped.
    pub fn decode(tag: Tag, payload: &[u8]) -> Result<Self, Violation> {
        Self::of(tag, &Segment::Borrowed(payload))
    }

    /// As [`decode`](Self::decode), and what it carries is not copied if the payload is owned.
    pub(super) fn of(tag: Tag, payload: &Segment<'_>) -> Result<Self, Violation> {
        Self::read(tag, payload).map_err(Violation::of(tag))
    }

    fn read(tag: Tag, payload: &Segment<'_>) -> Result<Self, Rule> {
        let reader = &mut Reader::new(payload);
        let blob = |reader: &mut Reader<'_>| reader.blob("payload").map(|blob| payload.part(blob));
        Ok(match tag {
            Tag::Hello => Self::Hello(Hello {
                entity: EntityType(reader.u8("entity type")?),
                peer: EntityAddr::decode(reader)?,
            }),
            Tag::AuthRequest => Self::AuthRequest(AuthRequest {
                method: reader.u32("method")?,
                modes: reader.u32s("modes")?,
                payload: blob(reader)?,
            }),
            Tag::AuthBadMethod => Self::AuthBadMethod(AuthBadMethod {
                method: reader.u32("method")?,
                result: reader.u32("result")?.cast_signed(),
                methods: reader.u32s("methods")?,
                modes: reader.u32s("modes")?,
            }),
            Tag::AuthReplyMore => Self::AuthReplyMore(blob(reader)?),
            Tag::AuthRequestMore => Self::AuthRequestMore(blob(reader)?),
            Tag::AuthDone => Self::AuthDone(AuthDone {
                global_id: reader.u64("global id")?,
                mode: reader.u32("mode")?,
                payload: blob(reader)?,
            }),
            Tag::AuthSignature => Self::AuthSignature(reader.array("signature")?),
            Tag::ClientIdent => Self::ClientIdent(ClientIdent {
                addresses: EntityAddrs::decode(reader)?,
                target: EntityAddr::decode(reader)?,
                gid: reader.u64("gid")?,
                global_seq: reader.u64("global_seq")?,
                supported: reader.u64("supported features")?,
                required: reader.u64("required features")?,
                flags: reader.u64("flags")?,
                cookie: reader.u64("cookie")?,
            }),
            Tag::ServerIdent => Self::ServerIdent(ServerIdent {
                addresses: EntityAddrs::decode(reader)?,
                gid: reader.u64("gid")?,
                global_seq: reader.u64("global_seq")?,
                supported: reader.u64("supported features")?,
                required: reader.u64("required features")?,
                flags: reader.u64("flags")?,
                cookie: reader.u64("cookie")?,
            }),
            Tag::IdentMissingFeatures => Self::IdentMissingFeatures(reader.u64("features")?),
            Tag::SessionReconnect => Self::SessionReconnect(SessionReconnect {
                addresses: EntityAddrs::decode(reader)?,
                client_cookie: reader.u64("client cookie")?,
                server_cookie: reader.u64("server cookie")?,
                global_seq: reader.u64("global_seq")?,
                connect_seq: reader.u64("connect_seq")?,
                msg_seq: reader.u64("msg_seq")?,
            }),
            Tag::SessionReset => Self::SessionReset(reader.u8("full")? != 0),
            Tag::SessionRetry => Self::SessionRetry(reader.u64("connect_seq")?),
            Tag::SessionRetryGlobal => Self::SessionRetryGlobal(reader.u64("global_seq")?),
            Tag::SessionReconnectOk => Self::SessionReconnectOk(reader.u64("msg_seq")?),
            Tag::Wait => Self::Wait,
            Tag::Keepalive2 => Self::Keepalive2(time(reader)?),
            Tag::Keepalive2Ack => Self::Keepalive2Ack(time(reader)?),
            Tag::Ack => Self::Ack(reader.u64("seq")?),
            Tag::CompressionRequest => Self::CompressionRequest {
                wanted: reader.u8("is_compress")? != 0,
                methods: reader.u32s("methods")?,
            },
            Tag::CompressionDone => Self::CompressionDone {
                on: reader.u8("is_compress")? != 0,
                method: reader.u32("method")?,
            },
            Tag::Message => return Err(Rule::NotControl),
        })
    }
}

fn put_u64s<const N: usize>(out: &mut Vec<u8>, values: [&u64; N]) {
    for value in values {
        out.put_u64(*value);
    }
}

fn time(reader: &mut Reader<'_>) -> Result<Timestamp, Rule> {
    Ok(Timestamp { seconds: reader.u32("seconds")?, nanoseconds: reader.u32("nanoseconds")? })
}
