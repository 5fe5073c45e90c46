//! The same pairs over Redis: every recipient SUBSCRIBEs to a channel of its own, its sender PUBLISHes there.
//!
//! The window reopens on the reply to PUBLISH, as it does on Throng's `Accepted`: that is where each server tells the
//! sender the outcome. The replies differ in what they promise. Redis says that it has written the message to one
//! subscriber's buffer (`:1`; anything else is an error here), Throng that the recipient has acknowledged it. So Redis
//! is spared a recv and a send per run of messages that Throng has to make.
//!
//! Batches are those of [`crate::closed_loop`]: all PUBLISH commands that may go at one time go in one write.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::closed_loop::{Exchange, Pair};

/// The reply to a PUBLISH that reached one subscriber.
const REACHED_ONE: &[u8] = b":1\r\n";

/// How long a reply may take before the run.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lines of the answer to INFO, at most: the section has about 20.
const INFO_LINES_MAX: usize = 200;

/// The number of the server's process, as it tells itself.
///
/// # Errors
/// The server cannot be reached, or is no Redis, or wants a password.
pub fn process_id(address: SocketAddr) -> io::Result<u32> {
    let mut stream = connect(address)?;
    stream.write_all(&command(&[b"INFO", b"server"]))?;
    let mut first = String::new();
    for line in BufReader::new(stream).lines().take(INFO_LINES_MAX) {
        let line = line?;
        if let Some(pid) = line.strip_prefix("process_id:") {
            return pid.trim().parse().map_err(|_| io::Error::other(format!("INFO says `{line}`")));
        }
        if first.is_empty() {
            first = line;
        }
    }
    Err(io::Error::other(format!(
        "no process_id in the answer to INFO, which begins `{first}`: use --server-pid"
    )))
}

/// Connects `count` pairs; bodies have `size` bytes.
///
/// # Errors
/// A connection that is refused, or an answer to SUBSCRIBE that is not Redis's.
pub fn connect_pairs(address: SocketAddr, count: usize, size: usize) -> io::Result<(Exchange, Vec<Pair>)> {
    let body = vec![b'm'; size];
    let delivery = command(&[b"message", channel(0).as_bytes(), &body]);
    let exchange =
        Exchange { delivery_bytes: delivery.len(), outcome: REACHED_ONE.to_vec(), ..Exchange::default() };
    let pairs = (0..count).map(|i| {
        let channel = channel(i);
        let mut recipient = connect(address)?;
        recipient.write_all(&command(&[b"SUBSCRIBE", channel.as_bytes()]))?;
        let expected = format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len());
        let mut came = vec![0; expected.len()];
        recipient.read_exact(&mut came)?;
        if came != expected.as_bytes() {
            let text = String::from_utf8_lossy(&came);
            return Err(io::Error::other(format!("the answer to SUBSCRIBE is {text:?}")));
        }
        let message = command(&[b"PUBLISH", channel.as_bytes(), &body]);
        Pair::new(connect(address)?, recipient, Arc::from(message))
    });
    Ok((exchange, pairs.collect::<io::Result<_>>()?))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .map_err(|error| io::Error::new(error.kind(), format!("no Redis at {address}: {error}")))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Names of one length, so that all deliveries have one length.
fn channel(i: usize) -> String {
    format!("{i:08}")
}

/// A RESP array of bulk strings: a command, and the form in which a published message arrives.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that answers one connection with `answer`, whatever it is asked.
    fn answering(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 100]);
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        assert_eq!(
            command(&[b"PUBLISH", b"00000007", b"hello"]),
            b"*3\r\n$7\r\nPUBLISH\r\n$8\r\n00000007\r\n$5\r\nhello\r\n"
        );
    }

    #[test]
    fn the_process_is_found_in_the_answer_to_info() {
        let address = answering(b"$37\r\n# Server\r\nprocess_id:4711\r\nhz:10\r\n\r\n");
        assert_eq!(process_id(address).unwrap(), 4711);
    }

    #[test]
    fn a_server_that_refuses_info_is_quoted() {
        let error = process_id(answering(b"-NOAUTH Authentication required.\r\n")).unwrap_err().to_string();
        assert!(error.contains("`-NOAUTH Authentication required.`"), "{error}");
    }
}
