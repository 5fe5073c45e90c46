//! Why a connection cannot go on.

use std::fmt;

use rustls::AlertDescription;

/// Why a connection cannot go on, and what the peer is told. Never a secret in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    alert: Option<AlertDescription>,
    why: Why,
}

#[derive(Clone, Debug, PartialEq)]
enum Why {
    Text(&'static str),
    Alert(AlertDescription),
    Handshake(Box<rustls::Error>),
}

impl Error {
    /// The peer's mistake, and the alert that names it.
    pub(super) fn new(alert: AlertDescription, why: &'static str) -> Error {
        Error { alert: Some(alert), why: Why::Text(why) }
    }

    /// The peer gave up, and gave this reason: it hears nothing more.
    pub(super) fn received(alert: AlertDescription) -> Error {
        Error { alert: None, why: Why::Alert(alert) }
    }

    /// No key may seal more.
    pub(super) fn exhausted() -> Error {
        Error {
            alert: None,
            why: Why::Text("the key has sealed as many records as it may, and TLS 1.2 has no other"),
        }
    }

    /// More of a handshake than any honest one has.
    pub(super) fn endless() -> Error {
        Error { alert: None, why: Why::Text("a handshake without end") }
    }

    /// What rustls found, which has written its own alert.
    pub(super) fn handshake(error: rustls::Error) -> Error {
        match error {
            rustls::Error::AlertReceived(alert) => Error::received(alert),
            error => Error { alert: None, why: Why::Handshake(Box::new(error)) },
        }
    }

    /// What the peer is told.
    pub fn alert(&self) -> Option<AlertDescription> {
        self.alert
    }

    /// What the peer told us.
    pub fn alert_received(&self) -> Option<AlertDescription> {
        match self.why {
            Why::Alert(alert) => Some(alert),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Text(text) => f.write_str(text),
            Why::Alert(alert) => write!(f, "the other side gave up: {alert:?}"),
            Why::Handshake(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
