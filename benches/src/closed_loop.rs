//! A generator with a fixed number of messages in flight per pair, and no more method than that.
//!
//! ```text
//!             batch of messages                     deliveries
//!   sender ─────────────────────> server ─────────────────────────> recipient
//!          <─────────────────────        <─────────────────────────
//!                outcomes                     acknowledgements
//! ```
//!
//! A sender writes W messages, then for every run of outcomes that one recv brought as many new messages in one write;
//! a recipient answers every run of deliveries with its acknowledgements in one write. [`Exchange`] says how many bytes
//! each of the four is; whoever has no acknowledgements or no outcomes leaves them empty. Without outcomes it is the
//! delivery that reopens the window.
//!
//! It is a method for a *server's* cost only: it tells no latency, and a server that slows down slows its load down.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use throng_reactor::sys::usage::thread_cpu;
use throng_wire::limits::OUTSTANDING_MAX;
use throng_wire::native::{DELIVER_BYTES, NUMBER_BYTES, SEND_BYTES};

use crate::accounts::CpuAccount;

/// Messages in flight per pair, at most: as many as Throng allows a sender. It keeps what is in flight far below any
/// socket's buffer, so that a write that is cut short is a fault and not a state.
pub const WINDOW_MAX: usize = OUTSTANDING_MAX as usize;

const BUFFER_BYTES: usize = 64 * 1024;
const EVENTS: usize = 1024;

/// How long the messages in flight may take to arrive after the last one was sent.
const DRAIN: Duration = Duration::from_secs(5);

/// How long one wait lasts at most: the longest that the end of a phase can be late when nothing moves.
const WAIT: Duration = Duration::from_millis(50);

/// The bytes of one message's life, equal for all pairs.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// Bytes of what the recipient gets per message.
    pub delivery_bytes: usize,
    /// What the recipient returns per message; empty: nothing.
    pub acknowledgement: Vec<u8>,
    /// What the sender gets back per message, compared byte by byte; empty: nothing, the delivery counts.
    pub outcome: Vec<u8>,
    /// Whether every message is written alone instead of with those that may go at the same time.
    pub alone: bool,
}

impl Exchange {
    /// Throng's own work in the floor's terms, for bodies of `size` bytes: returns the message too.
    ///
    /// Throng moves a `Send` in and a `Deliver` out, an `Ack` in (one for all that one recv brought) and an `Accepted`
    /// out. A relay sends what it received, so a message has the mean of `Send` and `Deliver`, which makes the same
    /// bytes in all, and each acknowledgement is an `Accepted` from the recipient: a few bytes more than Throng receives,
    /// in the same number of system calls.
    pub fn acknowledged(size: usize) -> (Exchange, Vec<u8>) {
        let message = vec![b'm'; size + (SEND_BYTES + DELIVER_BYTES) / 2];
        let acknowledgement = vec![b'a'; NUMBER_BYTES];
        let exchange = Exchange {
            delivery_bytes: message.len(),
            outcome: acknowledgement.clone(),
            acknowledgement,
            alone: false,
        };
        (exchange, message)
    }

    /// The bare body one way, each in a write of its own, and nothing comes back.
    pub fn unacknowledged(size: usize) -> (Exchange, Vec<u8>) {
        (Exchange { delivery_bytes: size, alone: true, ..Exchange::default() }, vec![b'm'; size])
    }
}

/// Two connected users and what the one says.
#[derive(Debug)]
pub struct Pair {
    sender: TcpStream,
    recipient: TcpStream,
    message: Arc<[u8]>,
}

impl Pair {
    /// A pair out of two blocking connections; `message` is what the sender writes each time.
    ///
    /// # Errors
    /// The kernel's, from setting options.
    pub fn new(
        sender: std::net::TcpStream,
        recipient: std::net::TcpStream,
        message: Arc<[u8]>,
    ) -> io::Result<Pair> {
        for stream in [&sender, &recipient] {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
        }
        Ok(Pair { sender: TcpStream::from_std(sender), recipient: TcpStream::from_std(recipient), message })
    }
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Messages in flight per pair, 1 to [`WINDOW_MAX`].
    pub window: usize,
    /// What is not measured, at the beginning.
    pub warmup: Duration,
    /// What is.
    pub measure: Duration,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Measured {
    /// Pairs that took part.
    pub pairs: usize,
    /// Messages in flight per pair.
    pub window: usize,
    /// Length of the measured part, in seconds.
    pub seconds: f64,
    /// Messages that had their outcome (without outcomes: that were delivered) in the measured part.
    pub messages: u64,
    /// The same per second of the clock.
    pub messages_per_s: f64,
    /// The server's CPU time in the measured part, in seconds; null when nobody said where to read it.
    pub server_cpu_s: Option<f64>,
    /// Messages per second of the server's CPU.
    pub server_messages_per_cpu_s: Option<f64>,
    /// The generator's own CPU time in the measured part, in seconds.
    pub client_cpu_s: f64,
}

/// One pair under way.
struct Talk {
    sender: TcpStream,
    recipient: TcpStream,
    /// A whole window of messages.
    batch: Box<[u8]>,
    /// Bytes of a delivery that has arrived in part.
    delivered_part: usize,
    /// The same for an outcome.
    outcome_part: usize,
}

struct Loop<'a> {
    exchange: &'a Exchange,
    talks: Vec<Talk>,
    window: usize,
    buffer: Box<[u8]>,
    /// A window of acknowledgements.
    acknowledgements: Vec<u8>,
    /// A window of outcomes: every run of them, begun where the last one ended, is a part of it.
    outcomes: Vec<u8>,
    /// Whether an outcome makes a new message go.
    open: bool,
    sent: u64,
    delivered: u64,
    settled: u64,
}

/// Warms up, measures, and drains.
///
/// # Errors
/// A connection that ends or breaks, bytes that are not what the exchange says, a write that is cut short, and messages
/// that have not arrived when draining ends: in each case there is no result.
pub fn run(
    pairs: Vec<Pair>,
    exchange: &Exchange,
    plan: Plan,
    server: Option<&CpuAccount>,
) -> io::Result<Measured> {
    assert!((1..=WINDOW_MAX).contains(&plan.window), "a window of {}", plan.window);
    let count = pairs.len();
    let mut poll = Poll::new()?;
    let mut work = Loop {
        exchange,
        talks: Vec::with_capacity(count),
        window: plan.window,
        buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
        acknowledgements: exchange.acknowledgement.repeat(plan.window),
        outcomes: exchange.outcome.repeat(plan.window),
        open: true,
        sent: 0,
        delivered: 0,
        settled: 0,
    };
    for (i, mut pair) in pairs.into_iter().enumerate() {
        poll.registry().register(&mut pair.sender, Token(i * 2), Interest::READABLE)?;
        poll.registry().register(&mut pair.recipient, Token(i * 2 + 1), Interest::READABLE)?;
        work.talks.push(Talk {
            sender: pair.sender,
            recipient: pair.recipient,
            batch: pair.message.repeat(plan.window).into_boxed_slice(),
            delivered_part: 0,
            outcome_part: 0,
        });
    }
    for i in 0..count {
        work.send(i, plan.window)?;
    }

    let cpu = || server.map(CpuAccount::read).transpose();
    work.turn_until(&mut poll, Instant::now() + plan.warmup)?;
    let (begin, client_cpu, server_cpu, before) = (Instant::now(), thread_cpu(), cpu()?, work.settled);
    work.turn_until(&mut poll, begin + plan.measure)?;
    let messages = work.settled - before;
    let seconds = begin.elapsed().as_secs_f64();
    let client_cpu_s = (thread_cpu() - client_cpu).as_secs_f64();
    let server_cpu_s = cpu()?.zip(server_cpu).map(|(after, before)| (after - before).as_secs_f64());
    work.drain(&mut poll)?;

    Ok(Measured {
        pairs: count,
        window: plan.window,
        seconds,
        messages,
        messages_per_s: messages as f64 / seconds,
        server_cpu_s,
        server_messages_per_cpu_s: server_cpu_s.filter(|&cpu| cpu > 0.0).map(|cpu| messages as f64 / cpu),
        client_cpu_s,
    })
}

impl Loop<'_> {
    fn turn_until(&mut self, poll: &mut Poll, end: Instant) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while Instant::now() < end {
            self.turn(poll, &mut events)?;
        }
        Ok(())
    }

    /// Sends nothing new, and waits for what is under way.
    fn drain(&mut self, poll: &mut Poll) -> io::Result<()> {
        self.open = false;
        let mut events = Events::with_capacity(EVENTS);
        let end = Instant::now() + DRAIN;
        while self.settled != self.sent || self.delivered != self.sent {
            if Instant::now() >= end {
                let (sent, delivered, settled) = (self.sent, self.delivered, self.settled);
                return Err(io::Error::other(format!(
                    "of {sent} messages {delivered} were delivered and {settled} had an outcome {DRAIN:?} later"
                )));
            }
            self.turn(poll, &mut events)?;
        }
        Ok(())
    }

    fn turn(&mut self, poll: &mut Poll, events: &mut Events) -> io::Result<()> {
        match poll.poll(events, Some(WAIT)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &*events {
            let Token(end) = event.token();
            let (i, is_sender) = (end / 2, end % 2 == 0);
            loop {
                let stream = if is_sender { &mut self.talks[i].sender } else { &mut self.talks[i].recipient };
                let received = match stream.read(&mut self.buffer) {
                    Ok(0) => return Err(fault(i, is_sender, "the server closed the connection")),
                    Ok(received) => received,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(fault(i, is_sender, &error.to_string())),
                };
                if is_sender {
                    self.outcomes(i, received)?;
                } else {
                    self.deliveries(i, received)?;
                }
                if received < self.buffer.len() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The recipient got bytes.
    fn deliveries(&mut self, i: usize, received: usize) -> io::Result<()> {
        let talk = &mut self.talks[i];
        let bytes = talk.delivered_part + received;
        let messages = bytes / self.exchange.delivery_bytes;
        talk.delivered_part = bytes % self.exchange.delivery_bytes;
        self.delivered += messages as u64;
        if !self.exchange.acknowledgement.is_empty() {
            let run = self.acknowledgements.get(..messages * self.exchange.acknowledgement.len());
            let run = run.ok_or_else(|| fault(i, false, "more was delivered than was sent"))?;
            write(&mut talk.recipient, run).map_err(|why| fault(i, false, &why))?;
        }
        if self.exchange.outcome.is_empty() { self.settle(i, messages) } else { Ok(()) }
    }

    /// The sender got bytes.
    fn outcomes(&mut self, i: usize, received: usize) -> io::Result<()> {
        let talk = &mut self.talks[i];
        let bytes = talk.outcome_part + received;
        // Too many bytes are not in the run that is expected, and neither is anything when nothing is.
        if self.outcomes.get(talk.outcome_part..bytes) != Some(&self.buffer[..received]) {
            let text = String::from_utf8_lossy(&self.buffer[..received.min(80)]);
            return Err(fault(i, true, &format!("not the expected outcome: {text:?}")));
        }
        talk.outcome_part = bytes % self.exchange.outcome.len();
        self.settle(i, bytes / self.exchange.outcome.len())
    }

    /// So many messages of the pair have ended.
    fn settle(&mut self, i: usize, messages: usize) -> io::Result<()> {
        self.settled += messages as u64;
        if self.open && messages > 0 { self.send(i, messages) } else { Ok(()) }
    }

    fn send(&mut self, i: usize, messages: usize) -> io::Result<()> {
        let talk = &mut self.talks[i];
        let message_bytes = talk.batch.len() / self.window;
        self.sent += messages as u64;
        let run = talk.batch.get(..messages * message_bytes);
        let run = run.ok_or_else(|| fault(i, true, "more came back than was sent"))?;
        let step = if self.exchange.alone { message_bytes } else { run.len() };
        for bytes in run.chunks(step) {
            write(&mut talk.sender, bytes).map_err(|why| fault(i, true, &why))?;
        }
        Ok(())
    }
}

/// Writes all or says why not.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    match stream.write(bytes) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err("the socket's buffer is full: use a smaller window or size".to_owned()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err("the socket's buffer is full: use a smaller window or size".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn fault(i: usize, is_sender: bool, why: &str) -> io::Error {
    let end = if is_sender { "sender" } else { "recipient" };
    io::Error::other(format!("pair {i}, {end}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::ops::ControlFlow;
    use std::thread;

    use super::*;

    const PLAN: Plan =
        Plan { window: 4, warmup: Duration::from_millis(10), measure: Duration::from_millis(50) };

    /// Runs three pairs over a relay; returns the result and the bytes that the relay moved.
    fn over_a_relay((exchange, message): (Exchange, Vec<u8>)) -> (Measured, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let relay = thread::spawn(move || {
            let mut bytes = 0;
            crate::relay::serve(listener, |tally| {
                bytes = tally.relayed_bytes;
                ControlFlow::Break(())
            })
            .unwrap();
            bytes
        });
        let pairs = crate::floor::connect(address, 3, &message).unwrap();
        let account = CpuAccount::of_process(std::process::id());
        let measured = run(pairs, &exchange, PLAN, Some(&account)).unwrap();
        (measured, relay.join().unwrap())
    }

    #[test]
    fn every_acknowledged_message_crosses_the_relay_twice() {
        let (measured, relayed) = over_a_relay(Exchange::acknowledged(100));
        let handshakes = 3 * 8;
        assert_eq!((relayed - handshakes) % (128 + 16), 0, "{relayed} bytes");
        let messages = (relayed - handshakes) / (128 + 16);
        assert!(measured.messages > 0 && measured.messages <= messages, "{measured:?} of {messages}");
        assert!(measured.server_cpu_s.is_some());
    }

    #[test]
    fn an_unacknowledged_message_crosses_the_relay_once() {
        let (measured, relayed) = over_a_relay(Exchange::unacknowledged(100));
        assert_eq!((relayed - 3 * 8) % 100, 0, "{relayed} bytes");
        assert!(measured.messages > 0 && measured.messages <= relayed / 100, "{measured:?}");
    }

    /// Runs one pair whose server sends `reply` to the sender and whatever came to the recipient, once.
    fn over_one_answer(reply: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, recipient) =
            (TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap());
        let server = thread::spawn(move || {
            let (mut from, mut to) = (listener.accept().unwrap().0, listener.accept().unwrap().0);
            let mut message = [0; 10];
            from.read_exact(&mut message).unwrap();
            to.write_all(&message).unwrap();
            from.write_all(reply).unwrap();
            // Keeps both open until the generator has given up.
            let _ = from.read(&mut [0; 100]);
        });
        let pair = Pair::new(sender, recipient, Arc::from([b'm'; 10])).unwrap();
        let exchange = Exchange { delivery_bytes: 10, outcome: b":1\r\n".to_vec(), ..Exchange::default() };
        let error = run(vec![pair], &exchange, Plan { window: 1, ..PLAN }, None).unwrap_err();
        server.join().unwrap();
        error.to_string()
    }

    #[test]
    fn an_outcome_that_is_not_the_expected_one_ends_the_run() {
        assert_eq!(over_one_answer(b":0\r\n"), "pair 0, sender: not the expected outcome: \":0\\r\\n\"");
    }

    #[test]
    fn more_outcomes_than_messages_end_the_run() {
        let error = over_one_answer(b":1\r\n:1\r\n");
        assert!(error.starts_with("pair 0, sender: not the expected outcome"), "{error}");
    }

    #[test]
    fn a_server_that_goes_away_ends_the_run() {
        // The first outcome is good; the server takes the second message as well, and closes.
        let error = over_one_answer(b":1\r\n");
        assert!(error.ends_with("the server closed the connection"), "{error}");
    }
}
