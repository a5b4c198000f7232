//! Placeholder.
mod name;
mod placement;
pub use name::*;
pub use placement::*;
