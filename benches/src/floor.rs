//! The floor's pairs: connections to a relay, checked to be each other's peers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::closed_loop::Pair;

/// How long the first bytes may take to the peer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects `count` pairs to a [`crate::relay`] on `address`; every sender writes `message`.
///
/// # Errors
/// A connection that is refused, or whose first bytes do not come out at its peer: somebody else is connecting to the
/// relay at the same time, or a lone connection is left from before.
pub fn connect(address: SocketAddr, count: usize, message: &[u8]) -> io::Result<Vec<Pair>> {
    let message: Arc<[u8]> = Arc::from(message);
    (0..count as u64)
        .map(|i| {
            let about =
                |error: io::Error| io::Error::new(error.kind(), format!("pair {i} at {address}: {error}"));
            let mut sender = TcpStream::connect(address).map_err(about)?;
            let mut recipient = TcpStream::connect(address).map_err(about)?;
            sender.write_all(&i.to_le_bytes())?;
            let mut came = [0; 8];
            recipient.set_read_timeout(Some(PATIENCE))?;
            recipient.read_exact(&mut came).map_err(about)?;
            if u64::from_le_bytes(came) != i {
                return Err(about(io::Error::other("the relay paired it with another connection")));
            }
            Pair::new(sender, recipient, Arc::clone(&message))
        })
        .collect()
}
