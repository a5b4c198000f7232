//! The msgr2 protocol, spoken to from outside: captured sessions, and endpoints in memory.

mod captures;
mod follower;
mod properties;
mod vectors;
