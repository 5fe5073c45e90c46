//! Any packets, calls and pauses on a few connections: nothing panics, every connection ends with one `Closed`, and
//! nothing is left when all are gone.
#![no_main]

use std::net::SocketAddrV4;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use throng_reactor::{Close, Nanos, Slot};
use throng_tcp::segment::{self, Checksum, Fill, Flags, Header, Seq};
use throng_tcp::{Addresses, Notice, Stack};

/// What the peer would say next, as far as we told it.
struct Peer {
    slot: Slot,
    seq: Seq,
    ack: Seq,
    is_closed: bool,
    is_sending: bool,
}

fn server() -> SocketAddrV4 {
    SocketAddrV4::new([198, 18, 0, 1].into(), 7400)
}

fuzz_target!(|bytes: &[u8]| {
    let mut now = Nanos(0);
    let mut stack = Stack::new(1, Addresses::new([198, 18, 0, 2].into(), 1), 7, now);
    let mut peers: Vec<Peer> = Vec::new();
    for step in bytes.chunks_exact(8) {
        let [what, which, seq, ack, flags, window, length, wait] = *step else { unreachable!() };
        let chosen = usize::from(which) % peers.len().max(1);
        match (what % 8, peers.get_mut(chosen)) {
            (0, _) | (_, None) => {
                if peers.len() < 8 {
                    let slot = stack.connect(server(), now).expect("there is room");
                    peers.push(Peer {
                        slot,
                        seq: Seq(u32::from(ack) << 24),
                        ack: Seq(0),
                        is_closed: false,
                        is_sending: false,
                    });
                }
            }
            (1, Some(peer)) => {
                if !peer.is_sending {
                    // One that was closed drops it without a word.
                    peer.is_sending = !peer.is_closed;
                    stack.send(peer.slot, vec![length; usize::from(length) * usize::from(window).max(1)]);
                }
            }
            (2, Some(peer)) => stack.shutdown(peer.slot),
            (3, Some(peer)) => {
                stack.close(peer.slot, if flags & 1 == 0 { Close::Now } else { Close::Reset });
                peer.is_closed = true;
            }
            (4, Some(peer)) => stack.pause(peer.slot),
            (5, Some(peer)) => stack.resume(peer.slot),
            (_, Some(peer)) => {
                let Some(to) = stack.local(peer.slot) else { continue };
                let near = |base: Seq, by: u8| Seq(base.0.wrapping_add_signed(i32::from(by as i8)));
                let header = Header {
                    from: server(),
                    to,
                    seq: near(peer.seq, seq),
                    ack: near(peer.ack, ack),
                    flags: Flags(flags),
                    window: u16::from(window) << (which & 8),
                    mss: (flags & 2 != 0).then(|| u16::from(window) * 8),
                };
                let payload = vec![wait; usize::from(length) % 64];
                let mut packet = [0; 256];
                let len = segment::write(&header, [&payload, b""], Fill::Whole, &mut packet);
                if stack.input(&packet[..len], Checksum::Verify, now).is_some() {
                    peer.seq = header.seq.plus(payload.len() as u32);
                }
            }
        }
        now = now + Duration::from_millis(u64::from(wait) * u64::from(which));
        stack.expire_acks(now);
        stack.expire(now);
        stack.output(now, |header, payload| {
            if let Some(peer) =
                peers.iter_mut().find(|peer| header.from.port() == 1024 + peer.slot.index() as u16)
            {
                let length = payload.concat().len() as u32 + u32::from(header.flags.0 & 3 != 0);
                peer.ack = header.seq.plus(length);
                if header.flags.has(Flags::ACK) {
                    peer.seq = header.ack;
                }
            }
        });
        if wait & 1 == 0 {
            hear(&mut stack, &mut peers);
            stack.reclaim();
        }
    }
    for peer in &peers {
        stack.close(peer.slot, Close::Reset);
    }
    for _ in 0..40 {
        now = now + Duration::from_secs(130);
        stack.expire_acks(now);
        stack.expire(now);
        stack.output(now, |_, _| {});
        hear(&mut stack, &mut peers);
        stack.reclaim();
    }
    assert_eq!(stack.connections(), 0, "somebody never ended");
    assert!(peers.is_empty(), "somebody was never told");
});

fn hear(stack: &mut Stack, peers: &mut Vec<Peer>) {
    while let Some((slot, notice)) = stack.next_notice(usize::MAX) {
        let at = peers.iter().position(|peer| peer.slot == slot).expect("nothing comes after Closed");
        match notice {
            Notice::Closed(_) => drop(peers.swap_remove(at)),
            Notice::Sent(..) => peers[at].is_sending = false,
            Notice::Connected | Notice::Data(_) | Notice::Eof => {
                assert!(!peers[at].is_closed, "{notice:?} after close")
            }
        }
    }
}
