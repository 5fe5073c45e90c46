//! The reader's end of the admin socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Response, Status};

use super::{BRIEF, HEADERS_MAX, ServerFigures};

/// How long one look at the figures may take: longer, and its figures would not be of the moment that they stand for.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read at most: 1,000 shards of 40 counters are about 1 MB.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Reads a server's figures.
///
/// # Errors
/// A sentence with the address: nobody there, no answer in time, or not a Throng server.
pub(crate) fn fetch(address: SocketAddr) -> Result<ServerFigures, String> {
    fetch_page(address, "/figures")
}

/// The same with its memory in brief, for whoever looks every second: to walk all of a large process's memory takes it
/// milliseconds. A server that does not know the difference walks it.
///
/// # Errors
/// As [`fetch`].
pub(crate) fn fetch_brief(address: SocketAddr) -> Result<ServerFigures, String> {
    fetch_page(address, &format!("/figures?{BRIEF}"))
}

fn fetch_page(address: SocketAddr, page: &str) -> Result<ServerFigures, String> {
    let about = |what: String| format!("cannot read the server's figures from {address}: {what}");
    let answer = exchange(address, page).map_err(|error| about(error.to_string()))?;
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let head = match response.parse(&answer) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) => return Err(about("the answer was cut off".to_owned())),
        Err(error) => {
            return Err(about(format!("the answer is not HTTP ({error}); is this the admin address?")));
        }
    };
    if response.code != Some(200) {
        let (code, reason) = (response.code.unwrap_or(0), response.reason.unwrap_or_default());
        return Err(about(format!("it answers {code} {reason}")));
    }
    serde_json::from_slice(&answer[head..])
        .map_err(|error| about(format!("the answer is not figures: {error}")))
}

fn exchange(address: SocketAddr, page: &str) -> std::io::Result<Vec<u8>> {
    let until = Instant::now() + TIME_MAX;
    let mut stream = TcpStream::connect_timeout(&address, TIME_MAX)?;
    stream.set_write_timeout(Some(TIME_MAX))?;
    stream.write_all(
        format!("GET {page} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    let mut limited = (&stream).take(ANSWER_BYTES_MAX);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match limited.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(got) => answer.extend_from_slice(&chunk[..got]),
            // A read with a timeout is not restarted by the kernel, and a ring that ends interrupts its thread.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
