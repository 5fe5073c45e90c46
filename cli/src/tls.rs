//! Encryption as the command line asks for it: files become setups, and trials get a certificate of their own.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use throng_wire::tls::{self, Setup, SetupError, Tickets, Trust};

use crate::args::{CertificateFlags, TlsFlags, TrustFlags};
use crate::exit::Failure;

/// Whom the certificate of a trial is for.
const TRIAL_NAME: &str = "throng.test";

/// Where the roots of a system are, on the distributions that people have (Debian, Fedora, SUSE, Alpine).
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What a server needs to meet clients; the tickets stay when the certificate changes.
pub(crate) struct Certificate<'a> {
    flags: &'a TlsFlags,
    files: &'a CertificateFlags,
    tickets: Option<Tickets>,
}

impl<'a> Certificate<'a> {
    /// Of a server that speaks TLS; `None` for one that does not.
    ///
    /// # Errors
    /// No certificate, or no random numbers.
    pub(crate) fn new(
        flags: &'a TlsFlags,
        files: &'a CertificateFlags,
    ) -> Result<Option<Certificate<'a>>, Failure> {
        if !flags.tls {
            return Ok(None);
        }
        if files.cert.is_none() {
            let why = "--tls takes --cert and --key; `throng run --tls` makes a certificate for its trial by itself";
            return Err(Failure::usage(why));
        }
        let tickets = flags.resumption.then(Tickets::new).transpose();
        let tickets = tickets.map_err(|error| Failure::broke(error.to_string()))?;
        Ok(Some(Certificate { flags, files, tickets }))
    }

    /// Reads the files, as they are now.
    ///
    /// # Errors
    /// A file that cannot be read or used, by its name.
    pub(crate) fn read(&self) -> Result<Setup, Failure> {
        let (Some(certificate), Some(key)) = (&self.files.cert, &self.files.key) else {
            return Err(Failure::usage("--tls takes --cert and --key"));
        };
        let (pem, key_pem) = (file("--cert", certificate)?, file("--key", key)?);
        let setup = tls::server(&pem, &key_pem, self.flags.tls_version.into(), self.tickets.as_ref(), now());
        setup.map_err(|error| {
            let (flag, path) = match error {
                SetupError::NoKey | SetupError::BadKey(_) => ("--key", key),
                _ => ("--cert", certificate),
            };
            Failure::usage(format!("{flag} {}: {error}", path.display()))
        })
    }
}

/// How a client speaks TLS with `target`, as it was named; `None` for one that does not. `speaks` is whether it speaks Throng's own
/// protocol.
///
/// # Errors
/// A file that cannot be read or used, or no roots on this system.
pub(crate) fn client(
    flags: &TlsFlags,
    trust: &TrustFlags,
    target: &str,
    speaks: bool,
) -> Result<Option<Setup>, Failure> {
    if !flags.tls {
        return Ok(None);
    }
    let whom = match &trust.cacert {
        Some(path) => roots("--cacert", path)?,
        None if trust.insecure => Trust::Anybody,
        None => system_roots()?,
    };
    let name = trust.sni.as_deref().unwrap_or_else(|| host(target));
    let setup = tls::client(name, whom, flags.tls_version.into(), flags.resumption, speaks);
    setup.map(Some).map_err(|error| Failure::usage(format!("--tls: {error}")))
}

fn roots(what: &str, path: &Path) -> Result<Trust, Failure> {
    let all = tls::certificates(&file(what, path)?);
    all.map(Trust::Roots).map_err(|error| Failure::usage(format!("{what} {}: {error}", path.display())))
}

fn system_roots() -> Result<Trust, Failure> {
    let found = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
    let why = "this system has no roots where they are looked for: give --cacert FILE, or --insecure";
    roots("the system's roots,", found.ok_or_else(|| Failure::usage(why))?)
}

/// The host in `host:port` or `[address]:port`.
fn host(target: &str) -> &str {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn file(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::usage(format!("{flag} {}: {error}", path.display())))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A certificate that lives as long as a trial, in a folder that nobody else may read.
pub(crate) struct Trial(TempDir);

impl Trial {
    /// Makes one.
    ///
    /// # Errors
    /// No random numbers, or no place for the files.
    pub(crate) fn make() -> Result<Trial, Failure> {
        let broke =
            |error: &dyn std::fmt::Display| Failure::broke(format!("no certificate for this trial: {error}"));
        let made =
            rcgen::generate_simple_self_signed([TRIAL_NAME.to_owned()]).map_err(|error| broke(&error))?;
        let home = tempfile::Builder::new().prefix("throng-tls-").tempdir().map_err(|error| broke(&error))?;
        let files = [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())];
        for (name, text) in files {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(home.path().join(name))
                .map_err(|error| broke(&error))?;
            file.write_all(text.as_bytes()).map_err(|error| broke(&error))?;
        }
        Ok(Trial(home))
    }

    /// The server's flags for it.
    pub(crate) fn server_flags(&self) -> [String; 2] {
        let path = |name| self.0.path().join(name).display().to_string();
        [format!("--cert={}", path("cert.pem")), format!("--key={}", path("key.pem"))]
    }

    /// The users' flags for it, as far as nobody said otherwise.
    pub(crate) fn client_flags(&self, trust: &TrustFlags) -> Vec<String> {
        let mut flags = Vec::new();
        if trust.cacert.is_none() && !trust.insecure {
            flags.push(format!("--cacert={}", self.0.path().join("cert.pem").display()));
        }
        if trust.sni.is_none() {
            flags.push(format!("--sni={TRIAL_NAME}"));
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_its_host() {
        assert_eq!(
            ["chat.example:7400", "127.0.0.1:1", "[::1]:7400", "chat.example"].map(host),
            ["chat.example", "127.0.0.1", "::1", "chat.example"]
        );
    }

    #[test]
    fn a_trials_certificate_serves_both_sides_and_goes_with_the_trial() {
        let trial = Trial::make().unwrap();
        let [cert, key] = trial.server_flags();
        let path = |flag: &str| flag.split_once('=').unwrap().1.into();
        let files = CertificateFlags { cert: Some(path(&cert)), key: Some(path(&key)) };
        let flags = TlsFlags { tls: true, resumption: true, ..TlsFlags::default() };
        Certificate::new(&flags, &files).unwrap().unwrap().read().unwrap();
        let [cacert, sni] = <[String; 2]>::try_from(trial.client_flags(&TrustFlags::default())).unwrap();
        let trust = TrustFlags {
            cacert: Some(path(&cacert)),
            sni: Some(path(&sni).display().to_string()),
            insecure: false,
        };
        assert!(client(&flags, &trust, "127.0.0.1:1", true).unwrap().is_some());
        assert_eq!(
            trial.client_flags(&TrustFlags { insecure: true, sni: Some("x".into()), cacert: None }),
            [""; 0]
        );
        drop(trial);
        assert!(!files.key.unwrap().exists());
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_flag_and_file() {
        let trial = Trial::make().unwrap();
        let other = Trial::make().unwrap();
        let path = |trial: &Trial, name| Some(trial.0.path().join(name));
        let flags = TlsFlags { tls: true, ..TlsFlags::default() };
        let refused = |cert, key| {
            let files = CertificateFlags { cert, key };
            let failure = Certificate::new(&flags, &files).and_then(|one| one.unwrap().read()).err().unwrap();
            failure.message
        };
        let message = refused(path(&trial, "cert.pem"), path(&other, "key.pem"));
        assert!(
            message.starts_with("--cert ") && message.contains("not that of the certificate"),
            "{message}"
        );
        let message = refused(path(&trial, "cert.pem"), path(&trial, "cert.pem"));
        assert!(message.starts_with("--key ") && message.contains("no private key"), "{message}");
        let message = refused(path(&trial, "none.pem"), path(&trial, "key.pem"));
        assert!(message.contains("none.pem: No such file"), "{message}");
        let none = Certificate::new(&flags, &CertificateFlags::default()).err().unwrap().message;
        assert!(none.contains("--cert and --key"), "{none}");
    }
}
