//! The admin socket: a server's figures as JSON over HTTP, and the client that reads them.
//!
//! One path, `GET /figures`; enough HTTP for curl, for [`fetch`], and for the page that Prometheus reads (`metrics`). It has no
//! authentication: whoever reaches the address may read, and nobody can change anything.

mod client;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;

use serde::{Deserialize, Serialize};
use throng_report::schema::Footprint;
use throng_server::Figures;

pub(crate) use client::{fetch, fetch_brief};
pub(crate) use server::{Page, answer, bind};

/// Bytes of a request, or of an answer's head, that are read at most.
const HEAD_BYTES_MAX: usize = 4096;
/// Header lines that are read at most.
const HEADERS_MAX: usize = 32;

/// What stands behind the `?` when memory is wanted in brief.
const BRIEF: &str = "memory=brief";

/// How closely memory is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything that there is to know.
    Whole,
    /// What costs nothing to know.
    Brief,
}

/// Tells figures on a socket until the process ends.
///
/// # Errors
/// No thread can be started.
pub(crate) fn listen<F>(listener: TcpListener, figures: F) -> io::Result<()>
where
    F: Fn(Detail) -> ServerFigures + Send + Sync + 'static,
{
    answer(listener, "admin", "/figures", move |query| {
        let detail = if query == BRIEF { Detail::Brief } else { Detail::Whole };
        let text = serde_json::to_string(&figures(detail)).map_err(|error| error.to_string())?;
        Ok(Page { kind: "application/json", text: text + "\n" })
    })
}

/// What a server tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServerFigures {
    /// The version of its Throng.
    pub(crate) throng_version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Seconds since it listens.
    pub(crate) uptime_s: f64,
    /// Its memory.
    pub(crate) memory: Footprint,
    /// Its memory before it had shards: no ring, no pool, no connection.
    pub(crate) memory_at_start: Footprint,
    /// Memory that can still be had on its machine.
    pub(crate) available_bytes: Option<u64>,
    /// The backend that was asked for.
    pub(crate) backend_requested: String,
    /// The backend that runs.
    pub(crate) backend_active: String,
    /// Why that one.
    pub(crate) backend_reason: String,
    /// For how long clients that say nothing are left to the kernel.
    pub(crate) defer_accept_s: Option<f64>,
    /// What its sockets are set to, by the names of the options; what is left to the kernel is missing.
    pub(crate) socket_options: BTreeMap<String, String>,
    /// Its cores; empty: any.
    pub(crate) cpus: Vec<u32>,
    /// Connections of the fullest shard by the average of all shards; `None` while nobody is connected.
    pub(crate) connections_skew: Option<f64>,
    /// Its shards' figures, and the CPU time of the process.
    pub(crate) server: Figures,
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    use super::*;

    fn served() -> SocketAddr {
        let figures = |detail| ServerFigures {
            pid: 7,
            memory: Footprint { user_bytes: (detail == Detail::Whole).then_some(9), ..Footprint::default() },
            ..ServerFigures::default()
        };
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into(), "admin").unwrap();
        let address = listener.local_addr().unwrap();
        listen(listener, figures).unwrap();
        address
    }

    fn answer(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        // A server that answers before it has read everything may reset; what it said still counts.
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn figures_arrive_as_they_were_told() {
        let address = served();
        assert_eq!(fetch(address).unwrap().memory.user_bytes, Some(9));
        let brief = ServerFigures { pid: 7, ..Default::default() };
        assert_eq!(fetch_brief(address).unwrap(), brief, "and again, in brief");
    }

    #[test]
    fn anything_else_is_refused_by_its_name() {
        let address = served();
        let status = |request: &[u8]| answer(address, request).lines().next().unwrap_or_default().to_owned();
        assert_eq!(status(b"GET /figures HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status(b"GET /figures?pretty HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(status(b"POST /figures HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status(b"\x16\x03\x01 nonsense\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        assert_eq!(status(&[b'a'; HEAD_BYTES_MAX + 1]), "HTTP/1.1 400 Bad Request");
    }

    #[test]
    fn a_client_that_says_nothing_does_not_keep_others_out() {
        let address = served();
        let _silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(fetch(address).unwrap().pid, 7);
    }

    #[test]
    fn an_address_without_an_admin_socket_is_named() {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let error = fetch(free).unwrap_err();
        assert!(error.contains(&free.to_string()), "{error}");
    }
}
