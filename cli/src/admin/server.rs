//! A little HTTP server: one page under one path, for the admin socket and for Prometheus.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Request, Status};

use super::{HEAD_BYTES_MAX, HEADERS_MAX};

/// How long one client may take from its connect to the end of its answer.
const CLIENT_TIME: Duration = Duration::from_secs(2);

/// Clients at once; each is a short-lived thread. More are disconnected without an answer.
const CLIENTS_MAX: usize = 8;

/// Pause after accept failed: most likely no descriptor is free, and trying again at once would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// One page of text.
pub(crate) struct Page {
    /// Its media type.
    pub(crate) kind: &'static str,
    /// What it says.
    pub(crate) text: String,
}

/// A socket on `address`, to be answered on by [`answer`]; `what` it is for stands in the message.
///
/// # Errors
/// The address cannot be bound; the text names it.
pub(crate) fn bind(address: SocketAddr, what: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address} for {what}: {error}"))
    })
}

/// Answers `GET path` with a page, until the process ends; `page` gets what stands behind a `?`, and its error is a 500. Its
/// threads are named after `name`.
///
/// # Errors
/// No thread can be started.
pub(crate) fn answer<F>(listener: TcpListener, name: &str, path: &'static str, page: F) -> io::Result<()>
where
    F: Fn(&str) -> Result<Page, String> + Send + Sync + 'static,
{
    let page = Arc::new(page);
    let clients = Arc::new(AtomicUsize::new(0));
    let client_name = format!("{name}-client");
    let serve_all = move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(ACCEPT_RETRY);
                continue;
            };
            if clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS_MAX {
                clients.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (page, here) = (Arc::clone(&page), Arc::clone(&clients));
            let client = thread::Builder::new().name(client_name.clone()).spawn(move || {
                // A client that went away is nobody's loss.
                let _ = serve(stream, path, &*page);
                here.fetch_sub(1, Ordering::Relaxed);
            });
            if client.is_err() {
                clients.fetch_sub(1, Ordering::Relaxed);
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(serve_all).map(drop)
}

fn serve(mut stream: TcpStream, path: &str, page: &PageOf) -> io::Result<()> {
    let until = Instant::now() + CLIENT_TIME;
    let mut head = Vec::new();
    let (status, page) = loop {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = Request::new(&mut headers);
        match request.parse(&head) {
            Ok(Status::Complete(_)) => break respond(&request, path, page),
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
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.kind,
        page.text.len()
    );
    stream.set_write_timeout(Some(CLIENT_TIME))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(page.text.as_bytes())
}

type PageOf = dyn Fn(&str) -> Result<Page, String>;

fn plain(text: &str) -> Page {
    Page { kind: "text/plain", text: format!("{text}\n") }
}

fn respond(request: &Request<'_, '_>, path: &str, page: &PageOf) -> (&'static str, Page) {
    let asked = request.path.unwrap_or_default();
    let (asked, query) = asked.split_once('?').unwrap_or((asked, ""));
    if asked != path {
        return ("404 Not Found", plain(&format!("there is only {path}")));
    }
    if request.method != Some("GET") {
        return ("405 Method Not Allowed", plain("only GET"));
    }
    match page(query) {
        Ok(page) => ("200 OK", page),
        Err(why) => ("500 Internal Server Error", plain(&why)),
    }
}
