//! The raw relay floor: what one recv brought from a connection goes out in one send to its peer.
//!
//! No protocol, no parsing, no queue, no timer: two system calls per run of messages and one wait per turn. A messaging
//! server on sockets and readiness has to make all of them, so what it costs beyond is its own.
//!
//! Connections are paired in the order in which they are accepted: the first with the second, the third with the
//! fourth. When one of a pair goes, the other is closed.
//!
//! What was deliberately not done: there is no outbox. The generator's window bounds what is in flight to a few KiB, far
//! below a socket's buffer, so a send that does not take everything is a mistake of the set-up: its pair is closed and
//! counted in [`Tally::broken_pairs`], and the generator fails on it.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::ControlFlow;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use throng_reactor::sys::usage::thread_cpu;

/// Bytes of the one receive buffer: more than a window holds, so that one recv empties a connection.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// Events of one wait: more than the 400 connections of the default load, so that one wait fetches all that are ready.
const EVENTS: usize = 1024;

const LISTENER: Token = Token(usize::MAX);

/// What a relay did between its first pair and the end of its last.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Tally {
    /// Pairs that were connected.
    pub pairs: u64,
    /// Bytes that went from one end to the other.
    pub relayed_bytes: u64,
    /// Pairs that were closed because a send did not take everything.
    pub broken_pairs: u64,
    /// CPU time of the relay's thread in seconds, user and system.
    pub cpu_s: f64,
}

/// One pair; token 2i is the first end of pair i, 2i + 1 the other.
type Pair = [TcpStream; 2];

struct Relay {
    poll: Poll,
    listener: TcpListener,
    /// A connection whose peer has not come yet. It is not polled: its bytes wait in the kernel.
    single: Option<TcpStream>,
    /// Emptied when the last pair is gone.
    pairs: Vec<Option<Pair>>,
    live: usize,
    buffer: Box<[u8]>,
    tally: Tally,
}

/// Relays until `idle`, called each time that the last pair is gone, says Break.
///
/// # Errors
/// The kernel's: no descriptor left for another connection, or no memory.
pub fn serve(
    listener: std::net::TcpListener,
    mut idle: impl FnMut(Tally) -> ControlFlow<()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay {
        poll,
        listener,
        single: None,
        pairs: Vec::new(),
        live: 0,
        buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
        tally: Tally::default(),
    };
    let mut events = Events::with_capacity(EVENTS);
    let mut cpu_before = thread_cpu();
    loop {
        match relay.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match event.token() {
                LISTENER => relay.accept()?,
                Token(end) => relay.forward(end),
            }
        }
        if relay.live == 0 && !relay.pairs.is_empty() {
            relay.pairs.clear();
            let cpu = thread_cpu();
            relay.tally.cpu_s = cpu.saturating_sub(cpu_before).as_secs_f64();
            cpu_before = cpu;
            if idle(std::mem::take(&mut relay.tally)).is_break() {
                return Ok(());
            }
        }
    }
}

impl Relay {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    let live = self.live;
                    return Err(io::Error::new(
                        error.kind(),
                        format!("no connection beyond {live} pairs (raise `ulimit -n`?): {error}"),
                    ));
                }
            };
            stream.set_nodelay(true)?;
            let Some(first) = self.single.take() else {
                self.single = Some(stream);
                continue;
            };
            let mut pair = [first, stream];
            for (end, stream) in pair.iter_mut().enumerate() {
                let token = Token(self.pairs.len() * 2 + end);
                // Edge-triggered, and never touched again. Bytes that came before are an edge, too.
                self.poll.registry().register(stream, token, Interest::READABLE)?;
            }
            self.pairs.push(Some(pair));
            self.live += 1;
            self.tally.pairs += 1;
        }
    }

    /// Moves what one end has to the other.
    fn forward(&mut self, end: usize) {
        // A pair that was closed earlier in this batch has events left.
        let Some(Some(pair)) = self.pairs.get_mut(end / 2) else { return };
        loop {
            match pair[end % 2].read(&mut self.buffer) {
                Ok(0) => break,
                Ok(received) => {
                    match pair[1 - end % 2].write(&self.buffer[..received]) {
                        Ok(sent) if sent == received => self.tally.relayed_bytes += sent as u64,
                        _ => {
                            self.tally.broken_pairs += 1;
                            break;
                        }
                    }
                    // A recv that left room has emptied the connection: whatever comes now is a new edge, and asking
                    // until EAGAIN would be a third system call per run of messages.
                    if received < self.buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break, // reset by a generator that ended without draining: it says so itself
            }
        }
        self.pairs[end / 2] = None;
        self.live -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};
    use std::thread::JoinHandle;
    use std::time::Duration;

    use super::*;

    /// How long a test waits for bytes before it fails.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn relay() -> (SocketAddr, JoinHandle<Tally>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut all = Tally::default();
            serve(listener, |tally| {
                all = tally;
                ControlFlow::Break(())
            })
            .unwrap();
            all
        });
        (address, thread)
    }

    fn client(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    #[test]
    fn bytes_come_out_at_the_peer_in_both_directions() {
        let (address, thread) = relay();
        let mut ends: Vec<TcpStream> = (0..4).map(|_| client(address)).collect();
        for (from, to) in [(0, 1), (1, 0), (3, 2), (2, 3)] {
            let text = [from as u8; 5];
            ends[from].write_all(&text).unwrap();
            let mut came = [0; 5];
            ends[to].read_exact(&mut came).unwrap();
            assert_eq!(came, text);
        }
        drop(ends);
        let tally = thread.join().unwrap();
        assert_eq!((tally.pairs, tally.relayed_bytes, tally.broken_pairs), (2, 20, 0));
    }

    #[test]
    fn the_peer_of_a_closed_connection_is_closed() {
        let (address, thread) = relay();
        let (first, mut second) = (client(address), client(address));
        let (mut third, mut fourth) = (client(address), client(address));
        drop(first);
        assert_eq!(second.read(&mut [0; 1]).unwrap(), 0);
        third.write_all(b"x").unwrap();
        assert_eq!(fourth.read(&mut [0; 1]).unwrap(), 1, "the other pair stays");
        drop(third);
        assert_eq!(thread.join().unwrap().pairs, 2);
    }

    #[test]
    fn a_peer_that_does_not_read_breaks_its_pair_and_is_counted() {
        let (address, thread) = relay();
        let (mut first, _second) = (client(address), client(address));
        let chunk = [0; BUFFER_BYTES];
        // Bounded by what the kernel may buffer for both ends: a few MiB.
        let refused = (0..10_000).any(|_| first.write_all(&chunk).is_err());
        assert!(refused, "the relay closes the pair");
        assert_eq!(thread.join().unwrap().broken_pairs, 1);
    }
}
