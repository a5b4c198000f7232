//! vmsgrd and vmsgrctl, seen from outside: one file a subject.
//!
//! They are one program, so that those that wait do it beside those that work, whatever their
//! subject; and since to link it takes as long as to link any of them.

mod attach_policy;
mod backpressure;
mod c;
mod ceph;
mod ceph_capture;
mod ceph_osd_null;
mod ceph_probe;
mod ceph_tap;
mod churn;
mod cli;
mod drain;
mod faults;
mod generate;
mod http;
mod idle;
mod original_dst;
mod placement;
mod redis;
mod relay;
mod shm_daemon_gone;
mod shm_endings;
mod shm_endpoints;
mod shm_idle;
mod shm_keepalive;
mod shm_kill;
mod shm_large;
mod shm_leaks;
mod shm_msgr2;
mod shm_outgoing;
mod shm_policy;
mod shm_redis;
mod shm_reply;
mod shm_sessions;
mod shm_stress;
mod stream;
mod timeouts;
mod wakeups;
