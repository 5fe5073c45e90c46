//! The server's end of the admin socket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Request, Status};

use super::{HEAD_BYTES_MAX, HEADERS_MAX, ServerFigures};

/// How long one client may take from its connect to the end of its answer.
const CLIENT_TIME: Duration = Duration::from_secs(2);

/// Clients at once; each is a short-lived thread. More are disconnected without an answer.
const CLIENTS_MAX: usize = 8;

/// Pause after accept failed: most likely no descriptor is free, and trying again at once would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Answers on `address` until the process ends; returns the address with the port that the kernel gave.
///
/// # Errors
/// The address cannot be bound; the text names it.
pub(crate) fn listen<F>(address: SocketAddr, figures: F) -> io::Result<SocketAddr>
where
    F: Fn() -> ServerFigures + Send + Sync + 'static,
{
    let listener = TcpListener::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address} for admin: {error}"))
    })?;
    let local = listener.local_addr()?;
    let figures = Arc::new(figures);
    let clients = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(ACCEPT_RETRY);
                continue;
            };
            if clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS_MAX {
                clients.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (figures, here) = (Arc::clone(&figures), Arc::clone(&clients));
            let client = thread::Builder::new().name("admin-client".to_owned()).spawn(move || {
                // A client that went away is nobody's loss.
                let _ = serve(stream, &*figures);
                here.fetch_sub(1, Ordering::Relaxed);
            });
            if client.is_err() {
                clients.fetch_sub(1, Ordering::Relaxed);
            }
        }
    })?;
    Ok(local)
}

fn serve(mut stream: TcpStream, figures: &dyn Fn() -> ServerFigures) -> io::Result<()> {
    let until = Instant::now() + CLIENT_TIME;
    let mut head = Vec::new();
    let (status, body) = loop {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = Request::new(&mut headers);
        match request.parse(&head) {
            Ok(Status::Complete(_)) => break answer(&request, figures),
            Ok(Status::Partial) if head.len() < HEAD_BYTES_MAX => {}
            Ok(Status::Partial) | Err(_) => {
                break ("400 Bad Request", plain("not an HTTP request, or too long a one"));
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        // A timeout of zero would mean none.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 1024];
        let got = stream.read(&mut chunk)?;
        if got == 0 || left.is_zero() {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..got]);
    };
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.set_write_timeout(Some(CLIENT_TIME))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn plain(text: &str) -> String {
    format!("{text}\n")
}

fn answer(request: &Request<'_, '_>, figures: &dyn Fn() -> ServerFigures) -> (&'static str, String) {
    let path = request.path.unwrap_or_default();
    if path.split('?').next() != Some("/figures") {
        return ("404 Not Found", plain("there is only /figures"));
    }
    if request.method != Some("GET") {
        return ("405 Method Not Allowed", plain("only GET"));
    }
    match serde_json::to_string(&figures()) {
        Ok(json) => ("200 OK", json + "\n"),
        Err(error) => ("500 Internal Server Error", plain(&error.to_string())),
    }
}
