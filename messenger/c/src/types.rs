//! The structures of vmsgr.h.

use std::collections::HashMap;
use std::ffi::c_char;

use nix::libc::{iovec, sockaddr_storage};
use vmsgr_messenger::client::{Endpoint, Progress};

pub const VMSGR_LISTENING: u32 = 1;
pub const VMSGR_UNLISTENED: u32 = 2;
pub const VMSGR_FAILED: u32 = 3;
pub const VMSGR_ACCEPTED: u32 = 4;
pub const VMSGR_CONNECTED: u32 = 5;
pub const VMSGR_RESUMED: u32 = 6;
pub const VMSGR_READABLE: u32 = 7;
pub const VMSGR_WRITABLE: u32 = 8;
pub const VMSGR_PEER_ENDED: u32 = 9;
pub const VMSGR_CLOSED: u32 = 10;
pub const VMSGR_DETACHED: u32 = 11;

pub const VMSGR_LOSSY_CLIENT: u32 = 0;
pub const VMSGR_LOSSLESS_CLIENT: u32 = 1;
pub const VMSGR_STATELESS_SERVER: u32 = 2;
pub const VMSGR_STATEFUL_SERVER: u32 = 3;
pub const VMSGR_LOSSLESS_PEER: u32 = 4;

pub const VMSGR_NO_KEEPALIVE: u32 = 4294967295;

pub const VMSGR_MESSAGE: u32 = 0;
pub const VMSGR_FORGOTTEN: u32 = 1;
pub const VMSGR_STREAM_LOST: u32 = 2;
pub const VMSGR_STREAM_BACK: u32 = 3;

pub type vmsgr_connection = u64;

pub type vmsgr_job = u64;

pub type vmsgr_entity_id = u64;

/// With how far each connection is that sends a message in several steps, by its slot.
pub struct vmsgr_endpoint(
    pub(crate) Endpoint,
    pub(crate) HashMap<usize, (vmsgr_connection, Progress)>,
);

#[repr(C)]
pub struct vmsgr_options {
    pub name: *const c_char,
    pub socket: *const c_char,
    pub slots: u32,
    pub receive_ring: u32,
    pub send_ring: u32,
    pub linger_ms: u32,
    pub patience_ms: u32,
    pub spin_us: u32,
    pub reserved: [u64; 4],
}

#[repr(C)]
pub struct vmsgr_event {
    pub kind: u32,
    pub error: i32,
    pub connection: vmsgr_connection,
    pub job: vmsgr_job,
    pub address: sockaddr_storage,
}

#[repr(C)]
pub struct vmsgr_positions {
    pub received: u64,
    pub consumed: u64,
    pub committed: u64,
    pub sent: u64,
}

#[repr(C)]
pub struct vmsgr_counters {
    pub ready: u64,
    pub doorbells_rung: u64,
    pub doorbells_saved: u64,
    pub sleeps: u64,
    pub sleeps_saved: u64,
}

#[repr(C)]
pub struct vmsgr_entity_options {
    pub r#type: u32,
    pub policy: u32,
    pub id: *const c_char,
    pub throttle_messages: u64,
    pub throttle_bytes: u64,
    pub largest_message: u32,
    pub keepalive_ms: u32,
    pub keepalive_patience_ms: u32,
    pub unused: u32,
    pub reserved: [u64; 3],
}

#[repr(C)]
pub struct vmsgr_peer_entity {
    pub r#type: u32,
    pub nonce: u32,
    pub number: u64,
    pub address: sockaddr_storage,
}

#[repr(C)]
pub struct vmsgr_message {
    pub what: u32,
    pub r#type: u16,
    pub priority: u16,
    pub version: u16,
    pub compat_version: u16,
    pub data_off: u16,
    pub flags: u8,
    pub unused: u8,
    pub seq: u64,
    pub tid: u64,
    pub lost: u64,
    pub front: [iovec; 2],
    pub middle: [iovec; 2],
    pub data: [iovec; 2],
}
