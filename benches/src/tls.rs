//! The floor of a handshake: rustls' own buffered connections over blocking sockets, one after the other.
//!
//! ```text
//!   load core     connect, handshake, a question ──>
//!   server core   accept, handshake              <── an answer; what rustls keeps of the connection is kept
//! ```
//!
//! A server that logs its clients in has to do all of this, too. What is kept tells what a session takes whose library keeps it
//! whole.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, HandshakeKind, ServerConnection};
use serde::Serialize;
use throng_reactor::sys::{affinity, usage};
use throng_wire::tls::{self, Setup, Tickets, Trust, Versions};

/// Whom the certificate is for.
const NAME: &str = "throng.test";

/// Bytes of the question and of the answer, about those of a login.
const TEXT: [u8; 40] = [7; 40];

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Handshakes.
    pub handshakes: u64,
    /// The versions to speak.
    pub versions: Versions,
    /// Whether to resume: then only the first handshake takes a certificate.
    pub resumes: bool,
    /// The server's core.
    pub server_cpu: usize,
    /// The load's core.
    pub load_cpu: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Shaken {
    /// Handshakes.
    pub handshakes: u64,
    /// Of these, resumed ones.
    pub resumed: u64,
    /// From the first connect to the last answer.
    pub seconds: f64,
    /// CPU time of the server's thread.
    pub server_cpu_s: f64,
    /// Handshakes per second of the server's CPU.
    pub handshakes_per_cpu_s: f64,
    /// Resident memory of a connection that rustls keeps whole, without its socket.
    pub bytes_per_session: f64,
}

/// Shakes hands, and keeps what the server has of it.
///
/// # Errors
/// A core that is not there, or whatever a socket or a handshake fails with.
pub fn run(plan: &Plan) -> io::Result<Shaken> {
    let (server, client) = setups(plan.versions, plan.resumes).map_err(io::Error::other)?;
    let Setup::Server(server) = server else { return Err(io::Error::other("not a server's setup")) };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let count = plan.handshakes;
    let cpu = plan.server_cpu;
    let thread = std::thread::spawn(move || -> io::Result<(Duration, u64, f64)> {
        affinity::pin(&[cpu])?;
        let mut kept = Vec::with_capacity(count as usize);
        let (began, before) = (usage::thread_cpu(), anonymous_bytes()?);
        let mut resumed = 0;
        for _ in 0..count {
            let (mut socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            let mut connection = ServerConnection::new(Arc::clone(&server)).map_err(io::Error::other)?;
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            let mut text = TEXT;
            stream.read_exact(&mut text)?;
            stream.write_all(&text)?;
            stream.flush()?;
            resumed += u64::from(connection.handshake_kind() == Some(HandshakeKind::Resumed));
            kept.push(connection);
        }
        let used = usage::thread_cpu() - began;
        let grown = anonymous_bytes()?.saturating_sub(before);
        drop(kept);
        Ok((used, resumed, grown as f64 / count as f64))
    });
    affinity::pin(&[plan.load_cpu])?;
    let began = Instant::now();
    let Setup::Client { config, name, .. } = client else {
        return Err(io::Error::other("not a client's setup"));
    };
    for _ in 0..count {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let mut connection =
            ClientConnection::new(Arc::clone(&config), name.clone()).map_err(io::Error::other)?;
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let mut text = TEXT;
        stream.write_all(&text)?;
        stream.read_exact(&mut text)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let (used, resumed, bytes_per_session) =
        thread.join().map_err(|_| io::Error::other("the server's thread panicked"))??;
    let server_cpu_s = used.as_secs_f64();
    Ok(Shaken {
        handshakes: count,
        resumed,
        seconds,
        server_cpu_s,
        handshakes_per_cpu_s: count as f64 / server_cpu_s,
        bytes_per_session,
    })
}

/// A server with a certificate of its own, and a client that trusts it.
///
/// # Errors
/// No random numbers.
pub fn setups(
    versions: Versions,
    resumes: bool,
) -> Result<(Setup, Setup), Box<dyn std::error::Error + Send + Sync>> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tickets = resumes.then(Tickets::new).transpose()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let server = tls::server(certificate.as_bytes(), key.as_bytes(), versions, tickets.as_ref(), now)?;
    let trust = Trust::Roots(tls::certificates(certificate.as_bytes())?);
    let client = tls::client(NAME, trust, versions, resumes, true)?;
    Ok((server, client))
}

/// Resident memory of this process that is no file.
fn anonymous_bytes() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("/proc/self/status has no RssAnon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_full_or_resumed_as_asked_for() {
        for versions in [Versions::Tls12, Versions::Tls13] {
            for (resumes, resumed) in [(false, 0), (true, 19)] {
                let plan = Plan { handshakes: 20, versions, resumes, server_cpu: 0, load_cpu: 0 };
                let shaken = run(&plan).unwrap();
                assert_eq!((shaken.handshakes, shaken.resumed), (20, resumed), "{plan:?}");
            }
        }
    }
}
