//! Entities: who a process is to its msgr2 peers.

use std::ffi::{CStr, c_int};
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{sockaddr, socklen_t};
use vmsgr_messenger::client::{EntityId, EntityOptions, EntityPolicy};
use vmsgr_messenger::msgr2::EntityType;

use crate::endpoint::{ask, borrow};
use crate::errors::{Outcome, done};
use crate::types::*;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_entity_options_init(options: *mut vmsgr_entity_options) {
    let defaults = vmsgr_entity_options {
        r#type: u32::from(EntityType::OSD.0),
        policy: VMSGR_STATELESS_SERVER,
        id: ptr::null(),
        throttle_messages: 1024,
        throttle_bytes: 100 << 20,
        largest_message: 128 << 20,
        keepalive_ms: 0,
        keepalive_patience_ms: 0,
        unused: 0,
        reserved: [0; 3],
    };
    if !options.is_null() {
        // SAFETY: not null, and the caller's to write.
        unsafe { options.write(defaults) };
    }
}

fn policy_of(number: u32) -> Outcome<EntityPolicy> {
    Ok(match number {
        VMSGR_LOSSY_CLIENT => EntityPolicy::LossyClient,
        VMSGR_LOSSLESS_CLIENT => EntityPolicy::LosslessClient,
        VMSGR_STATELESS_SERVER => EntityPolicy::StatelessServer,
        VMSGR_STATEFUL_SERVER => EntityPolicy::StatefulServer,
        VMSGR_LOSSLESS_PEER => EntityPolicy::LosslessPeer,
        _ => return Err(Errno::EINVAL.into()),
    })
}

fn type_of(number: u32) -> Outcome<EntityType> {
    let number = u8::try_from(number).map_err(|_| Errno::EINVAL)?;
    Ok(EntityType(number))
}

/// # Safety
/// As vmsgr.h says of `vmsgr_entity`.
unsafe fn options_of(options: *const vmsgr_entity_options) -> Outcome<EntityOptions> {
    // SAFETY: null, or the caller's to read.
    let options = unsafe { options.as_ref() }.ok_or(Errno::EINVAL)?;
    if options.reserved != [0; 3] || options.unused != 0 || options.id.is_null() {
        return Err(Errno::EINVAL.into());
    }
    // SAFETY: not null; a text of the caller's.
    let id = unsafe { CStr::from_ptr(options.id) }.to_str().map_err(|_| Errno::EINVAL)?;
    let entity = EntityOptions::new(type_of(options.r#type)?, id)
        .policy(policy_of(options.policy)?)
        .throttle(options.throttle_messages, options.throttle_bytes)
        .largest_message(options.largest_message);
    Ok(match (options.keepalive_ms, options.keepalive_patience_ms) {
        (0, 0) => entity,
        (VMSGR_NO_KEEPALIVE, 0) => entity.no_keepalive(),
        (after, patience) => entity
            .keepalive(Duration::from_millis(after.into()), Duration::from_millis(patience.into())),
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_entity(
    endpoint: *mut vmsgr_endpoint,
    options: *const vmsgr_entity_options,
    entity: *mut vmsgr_entity_id,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    let (endpoint, options, into) =
        unsafe { (borrow(endpoint), options_of(options), entity.as_mut()) };
    done(endpoint.and_then(|endpoint| {
        let into = into.ok_or(Errno::EINVAL)?;
        *into = endpoint.entity(&options?)?.to_bits();
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_listen_as(
    endpoint: *mut vmsgr_endpoint,
    entity: vmsgr_entity_id,
    address: *const sockaddr,
    length: socklen_t,
    job: *mut vmsgr_job,
) -> c_int {
    let entity = EntityId::from_bits(entity);
    // SAFETY: what vmsgr.h asks for.
    unsafe { ask(endpoint, address, length, job, |it, address| Ok(it.listen_as(entity, address)?)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_connect_as(
    endpoint: *mut vmsgr_endpoint,
    entity: vmsgr_entity_id,
    address: *const sockaddr,
    length: socklen_t,
    peer_type: u32,
    job: *mut vmsgr_job,
) -> c_int {
    let entity = EntityId::from_bits(entity);
    // SAFETY: what vmsgr.h asks for.
    unsafe {
        ask(endpoint, address, length, job, |it, address| {
            let peer = Some(type_of(peer_type)?).filter(|peer| peer.0 != 0);
            Ok(it.connect_as(entity, address, peer)?)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_connect_as_within(
    endpoint: *mut vmsgr_endpoint,
    entity: vmsgr_entity_id,
    address: *const sockaddr,
    length: socklen_t,
    peer_type: u32,
    time_ms: c_int,
    job: *mut vmsgr_job,
) -> c_int {
    let entity = EntityId::from_bits(entity);
    let time = u64::try_from(time_ms).ok().map(Duration::from_millis);
    // SAFETY: what vmsgr.h asks for.
    unsafe {
        ask(endpoint, address, length, job, |it, address| {
            let peer = Some(type_of(peer_type)?).filter(|peer| peer.0 != 0);
            Ok(it.connect_as_within(entity, address, peer, time)?)
        })
    }
}
