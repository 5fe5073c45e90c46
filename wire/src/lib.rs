//! Protocols: bytes to meaning and back. No socket, no clock, no thread.
//!
//! [`native`] is Throng's own protocol, made for density: fixed headers, no text, no allocation per frame.

pub mod limits;
pub mod native;
