//! SIGHUP: the certificate is read again, and whoever is connected stays.

use throng_server::Server;

use crate::exit::Failure;
use crate::signals;
use crate::tls::Certificate;

/// Waits for the signal; a server without TLS does not.
pub(super) struct Renewal<'a> {
    certificate: Option<Certificate<'a>>,
    came: Box<dyn FnMut() -> bool>,
}

impl<'a> Renewal<'a> {
    /// With a screen the signal says that the terminal is gone, and ends the server.
    ///
    /// # Errors
    /// The kernel refuses a signal handler.
    pub(super) fn new(
        certificate: Option<Certificate<'a>>,
        has_screen: bool,
    ) -> Result<Renewal<'a>, Failure> {
        if certificate.is_none() || has_screen {
            return Ok(Renewal { certificate: None, came: Box::new(|| false) });
        }
        let came = signals::hangups()
            .map_err(|error| Failure::broke(format!("cannot watch for SIGHUP: {error}")))?;
        Ok(Renewal { certificate, came: Box::new(came) })
    }

    /// Reads the certificate again if that was asked for, and says what came of it. One that cannot be used changes nothing.
    pub(super) fn look(&mut self, server: &Server) -> Option<String> {
        let certificate = self.certificate.as_ref().filter(|_| (self.came)())?;
        Some(match certificate.read() {
            Ok(setup) => {
                server.renew(setup);
                "the certificate was read again: new clients are met with it".to_owned()
            }
            Err(failure) => format!("the certificate stays as it was: {}", failure.message),
        })
    }
}
