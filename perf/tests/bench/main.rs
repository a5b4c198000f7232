//! The program as one uses it: its servers, the load on them, and its errors.

mod command_line;
mod load;
mod osd;
mod run;
mod servers;
mod suite;
