//! The msgr2 protocol, spoken to from outside: captured sessions, and endpoints in memory.

mod captures;
mod dialling;
mod faults;
mod follower;
mod handshakes;
mod keyed;
mod osd_null;
mod places;
mod played;
mod properties;
mod rules;
mod secure;
mod sessions;
mod tap;
mod vectors;
mod world;
