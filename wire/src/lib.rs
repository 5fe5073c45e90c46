//! Protocols: bytes to meaning and back. No socket, no clock, no thread.
//!
//! [`native`] is Throng's own protocol, made for density: fixed headers, no text, no allocation per frame. [`tls`] is what
//! both sides may put around it.

pub mod limits;
pub mod native;
pub mod tls;
