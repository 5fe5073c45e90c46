//! How the traffic secrets of TLS 1.3 are had from rustls: it tells them to whoever keeps a key log, on the thread that takes a
//! handshake a step further. They are what key updates start from.

use std::cell::RefCell;

use rustls::KeyLog;
use zeroize::Zeroize;

use super::half::Secret;

/// The secrets of both directions.
#[derive(Clone)]
pub(super) struct Traffic {
    pub(super) client: Secret,
    pub(super) server: Secret,
}

thread_local! {
    static TOLD: RefCell<Traffic> = const { RefCell::new(NOTHING) };
}
const NOTHING: Traffic = Traffic { client: Secret::NONE, server: Secret::NONE };

/// Keeps what rustls tells until [`take`] asks for it.
#[derive(Debug)]
pub(super) struct Catch;

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for Catch {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        TOLD.with_borrow_mut(|told| {
            let place = match label {
                CLIENT => &mut told.client,
                SERVER => &mut told.server,
                // The master secret of TLS 1.2 is told to whoever wants it or not.
                _ => return,
            };
            place.0.zeroize();
            place.0[..secret.len()].copy_from_slice(secret);
        });
    }

    fn will_log(&self, label: &str) -> bool {
        label == CLIENT || label == SERVER
    }
}

/// What rustls has told on this thread since this was last asked; `None` when that was nothing.
pub(super) fn take() -> Option<Traffic> {
    let told = TOLD.with_borrow_mut(|told| std::mem::replace(told, NOTHING));
    (told.client.0 != Secret::NONE.0).then_some(told)
}
