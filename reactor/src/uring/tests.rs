//! What is this backend's alone; the contract has its own suite.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::buffers::BufferRing;
use super::conn::{IN_FLIGHT, POLL};
use super::*;
use crate::AcceptPause;
use crate::sys::files::private_table;

/// Turns that a test waits for something, at most; a turn waits ten milliseconds at most.
const TURNS_MAX: usize = 1000;

fn small() -> Config {
    Config { recv_buffers: 8, recv_buffer_bytes: 64, ..Config::default() }
}

fn listening(config: &Config) -> (Uring, SocketAddr) {
    let mut uring = Uring::new(config, Waker::new().unwrap()).unwrap();
    let address = uring.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    (uring, address)
}

/// Turns until `is_so` finds what it wants among the events of one turn.
fn turn_until<T>(uring: &mut Uring, mut is_so: impl FnMut(Vec<Event>) -> Option<T>) -> T {
    for _ in 0..TURNS_MAX {
        let mut events = Vec::new();
        let until = uring.now() + Duration::from_millis(10);
        uring.turn(Some(until), &mut events).unwrap();
        if let Some(found) = is_so(events) {
            return found;
        }
    }
    panic!("still waiting after {TURNS_MAX} turns: {uring:?}");
}

fn connected(uring: &mut Uring, address: SocketAddr) -> (TcpStream, Slot) {
    let client = TcpStream::connect(address).unwrap();
    let slot = turn_until(uring, |events| {
        events.into_iter().find_map(|event| match event {
            Event::Accepted { slot } => Some(slot),
            _ => None,
        })
    });
    (client, slot)
}

fn received(uring: &mut Uring, bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    turn_until(uring, |events| {
        for event in events {
            if let Event::Data { data, .. } = event {
                all.extend_from_slice(&data);
            }
        }
        (all.len() >= bytes).then(|| all.clone())
    })
}

#[test]
fn this_kernel_passes_the_check_or_says_why_not() {
    if let Err(why) = probe() {
        assert!(why.len() > 40, "no remedy in `{why}`");
    }
}

#[test]
fn a_buffer_ring_wraps_with_every_buffer_in_its_place() {
    const ROUNDS: u32 = 70_000; // the tail is 16 bits wide
    let mut ring = Ring::new().unwrap();
    // SAFETY: nothing is in flight at the end, and the ring is dropped first.
    let mut buffers = unsafe { BufferRing::new(&ring, Pool::new(4, 16), 4).unwrap() };
    let (here, mut there) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
    let request = Request::of(Tag::Recv, Slots::new(0).insert(()));
    let mut held = Vec::new();
    for round in 0..ROUNDS {
        there.write_all(&round.to_le_bytes()).unwrap();
        assert!(buffers.promise(), "round {round}: a buffer was lost");
        ring.recv(here.as_fd(), request);
        ring.enter(1, None).unwrap();
        assert!(ring.has_completions());
        let completion = ring.next().unwrap();
        assert_eq!(completion.result, 4, "round {round}");
        let lease = buffers.redeem(completion.buffer(), 4).unwrap();
        assert_eq!(*lease, round.to_le_bytes());
        held.push(lease); // returned in another order than they were taken
        if held.len() == 3 {
            held.swap_remove(round as usize % 3);
        }
        buffers.refill();
    }
    drop(ring);
}

#[test]
fn without_a_promise_there_is_no_buffer() {
    let ring = Ring::new().unwrap();
    // SAFETY: nothing is ever in flight, and the ring is dropped first.
    let mut buffers = unsafe { BufferRing::new(&ring, Pool::new(2, 16), 2).unwrap() };
    assert!(buffers.promise() && buffers.promise() && !buffers.promise());
    assert!(buffers.redeem(None, 0).is_none(), "the receive used none");
    assert!(buffers.promise() && !buffers.promise());
    // SAFETY: as above.
    let wrong = unsafe { BufferRing::new(&ring, Pool::new(3, 16), 3) }.err().unwrap().to_string();
    assert!(wrong.contains("power of two"), "{wrong}");
    drop(ring);
}

#[test]
fn more_requests_than_both_queues_hold_all_complete() {
    const REQUESTS: usize = 10_000;
    let mut ring = Ring::new().unwrap();
    let ready = crate::sys::eventfd().unwrap();
    crate::sys::eventfd_signal(&ready);
    let request = Request::of(Tag::Connect, Slots::new(0).insert(()));
    for _ in 0..REQUESTS {
        ring.poll(ready.as_fd(), libc::POLLIN as u32, false, request);
    }
    let mut completed = 0;
    while completed < REQUESTS {
        let until = clock::now() + Duration::from_secs(5);
        ring.enter(1, Some(until)).unwrap();
        assert!(ring.has_completions(), "{completed} of {REQUESTS}");
        while ring.next().is_some() {
            completed += 1;
        }
    }
    assert!(ring.overflows > 0, "the completion queue is smaller than that");
    assert!(ring.quiesce(drop));
}

#[test]
fn an_overflow_does_not_deafen_a_connection() {
    let (mut uring, address) = listening(&small());
    let (mut client, slot) = connected(&mut uring, address);
    let ready = crate::sys::eventfd().unwrap();
    crate::sys::eventfd_signal(&ready);
    let nobody = Request::of(Tag::Connect, Slot::new(1, 0, 1));
    for _ in 0..10_000 {
        uring.ring.poll(ready.as_fd(), libc::POLLIN as u32, false, nobody);
    }
    client.write_all(b"first").unwrap();
    uring.ring.enter(0, None).unwrap();
    assert_eq!(received(&mut uring, 5), b"first");
    assert!(uring.gauges().overflows > 0);
    assert!(uring.conns.get(slot).unwrap().has(POLL), "armed again");
    for _ in 0..3 {
        client.write_all(b"later").unwrap();
        assert_eq!(received(&mut uring, 5), b"later");
    }
}

#[test]
fn a_slot_is_not_free_while_something_is_in_flight() {
    let (mut uring, address) = listening(&small());
    let (mut client, slot) = connected(&mut uring, address);
    uring.close(slot, Close::Now);
    let conn = uring.conns.get(slot).unwrap();
    assert!(conn.has(IN_FLIGHT) && conn.socket().is_some(), "the poll has not ended yet");
    turn_until(&mut uring, |events| {
        events.iter().any(|event| matches!(event, Event::Closed { error: None, .. })).then_some(())
    });
    assert_eq!((uring.conns.len(), uring.gauges().connections), (0, 0));
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "FIN");
}

#[test]
fn bytes_that_meet_a_pause_are_kept_until_it_is_over() {
    let (mut uring, address) = listening(&small());
    let (mut client, slot) = connected(&mut uring, address);
    client.write_all(b"before").unwrap();
    while uring.listed.is_empty() {
        uring.ring.enter(1, None).unwrap();
        uring.harvest(&mut Vec::new(), BATCH_EVENTS);
    }
    uring.receive_listed(); // the kernel has the buffer, and then:
    uring.pause(slot);
    let mut events = Vec::new();
    uring.turn(Some(Nanos(0)), &mut events).unwrap();
    assert!(events.is_empty() && uring.stash.len() == 1, "{events:?}");
    client.write_all(b" and after").unwrap();
    uring.resume(slot);
    uring.pause(slot); // changed its mind
    uring.turn(Some(Nanos(0)), &mut events).unwrap();
    assert!(events.is_empty(), "{events:?}");
    uring.resume(slot);
    assert_eq!(received(&mut uring, 16), b"before and after");
}

#[test]
fn clients_beyond_the_limit_are_served_in_the_end() {
    const CLIENTS: usize = 20;
    let (mut uring, address) = listening(&Config { connections_max: 3, ..small() });
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|i| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(&[i as u8]).unwrap();
            client
        })
        .collect();
    let (mut open, mut served) = (0, vec![]);
    let mut paused = false;
    turn_until(&mut uring, |events| {
        for event in events {
            match event {
                Event::Accepted { .. } => open += 1,
                Event::AcceptPaused { why: AcceptPause::Connections } => {
                    assert!(!paused, "said once");
                    paused = true;
                }
                Event::AcceptResumed => {
                    assert!(paused);
                    paused = false;
                }
                Event::Data { slot, data } => served.push((slot, data[0])),
                Event::Closed { .. } => open -= 1,
                _ => {}
            }
            assert!(open <= 3, "{open} connections");
        }
        (served.len() == 3).then_some(())
    });
    assert!(uring.acceptor.held() > 0, "one accept brought more than were wanted");
    // Each that is served makes room for the next.
    let mut all = Vec::new();
    while all.len() < CLIENTS {
        for (slot, id) in served.drain(..) {
            all.push(id);
            uring.close(slot, Close::Now);
        }
        turn_until(&mut uring, |events| {
            for event in events {
                match event {
                    Event::Accepted { .. } => open += 1,
                    Event::Closed { .. } => open -= 1,
                    Event::Data { slot, data } => served.push((slot, data[0])),
                    _ => {}
                }
                assert!(open <= 3, "{open} connections");
            }
            (open == 0 || !served.is_empty()).then_some(())
        });
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..CLIENTS as u8), "{all:?}");
    assert!(clients.iter_mut().all(|client| client.read(&mut [0]).unwrap() == 0), "FIN, not RST");
}

#[test]
fn dropping_a_reactor_with_everything_in_flight_leaves_nothing() {
    std::thread::spawn(|| {
        private_table(&[]).unwrap();
        let files = || std::fs::read_dir("/proc/thread-self/fd").unwrap().count();
        let before = files();
        for _ in 0..20 {
            let (mut uring, address) = listening(&small());
            let (mut client, slot) = connected(&mut uring, address);
            client.write_all(b"kept").unwrap();
            let lease = turn_until(&mut uring, |events| {
                events.into_iter().find_map(|event| match event {
                    Event::Data { data, .. } => Some(data),
                    _ => None,
                })
            });
            uring.send(slot, vec![7; 32 << 20]); // more than the sockets hold
            uring.turn(Some(Nanos(0)), &mut Vec::new()).unwrap();
            assert!(uring.conns.get(slot).unwrap().send().is_some(), "the send is in flight");
            let unseen = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
            uring.connect(None, address).unwrap();
            drop(uring);
            assert_eq!(&*lease, b"kept", "a lease outlives its reactor");
            drop((client, unseen, lease));
        }
        assert_eq!(files(), before, "descriptors left");
    })
    .join()
    .unwrap();
}

#[test]
fn many_reactors_one_after_the_other_fit_one_thread() {
    // The kernel has room for 16 registered rings per thread.
    for _ in 0..40 {
        drop(Uring::new(&small(), Waker::new().unwrap()).unwrap());
    }
}
