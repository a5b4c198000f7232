//! The C face of `vmsgr_messenger::client`: the same things by the same names, behind `extern "C"`.
//!
//! `vmsgr.h` is the documentation; it is written by hand, and a test compares it with what is here.
//! Errors are told as the C library does: -1 or NULL, and `errno`.
#![allow(unsafe_code)] // What C hands over are pointers.
#![allow(non_camel_case_types)] // C's names.
#![allow(clippy::missing_safety_doc)] // What each function asks for is in vmsgr.h.

mod address;
mod connection;
mod endpoint;
mod entity;
mod errors;
mod messages;
mod types;
