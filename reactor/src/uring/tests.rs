//! What is this backend's alone; the contract has its own suite.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use super::conn::{IN_FLIGHT, POLL};
use super::ring::Ring;
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
            Event::Accepted { slot, .. } => Some(slot),
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

/// An eventfd that is ready to be read.
fn signalled() -> OwnedFd {
    let eventfd = crate::sys::eventfd().unwrap();
    crate::sys::eventfd_signal(&eventfd);
    eventfd
}

#[test]
fn this_kernel_passes_the_check_or_says_why_not() {
    if let Err(why) = probe() {
        assert!(why.len() > 40, "no remedy in `{why}`");
    }
}

#[test]
fn more_requests_than_both_queues_hold_all_complete() {
    const REQUESTS: usize = 10_000;
    let counts = Rc::default();
    let mut ring = Ring::new(&counts).unwrap();
    ring.submitter().register_files(&[signalled().as_raw_fd()]).unwrap();
    let request = Request::of(Tag::Connect, Slots::new(0).insert(()));
    for _ in 0..REQUESTS {
        ring.poll(0, libc::POLLIN as u32, false, request);
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
    assert!(counts.overflows.get() > 0, "the completion queue is smaller than that");
    assert!(ring.quiesce());
}

#[test]
fn an_overflow_does_not_deafen_a_connection() {
    let (mut uring, address) = listening(&small());
    let (mut client, slot) = connected(&mut uring, address);
    let nobody = Request::of(Tag::Connect, Slot::new(1, 0, 1));
    let place = uring.tables.take().unwrap();
    uring.tables.put(place, &signalled()).unwrap();
    for _ in 0..10_000 {
        uring.tables.first().poll(place.file, libc::POLLIN as u32, false, nobody);
    }
    client.write_all(b"first").unwrap();
    uring.tables.first().enter(0, None).unwrap();
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
    assert!(conn.has(IN_FLIGHT) && conn.place().is_some(), "the poll has not ended yet");
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
        uring.tables.first().enter(1, None).unwrap();
        uring.harvest(&mut Vec::new(), BATCH_EVENTS).unwrap();
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

/// Accepts `wanted` clients, each of which has written one byte; gives the bytes and their slots.
fn served(uring: &mut Uring, wanted: usize) -> Vec<(Slot, u8)> {
    let mut served = Vec::new();
    turn_until(uring, |events| {
        for event in events {
            if let Event::Data { slot, data } = event {
                served.push((slot, data[0]));
            }
        }
        (served.len() >= wanted).then_some(())
    });
    served
}

fn writing_client(address: SocketAddr, id: u8) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(&[id]).unwrap();
    client
}

#[test]
fn tables_are_made_as_connections_come_and_their_places_are_used_again() {
    const CLIENTS: u8 = 20;
    let (mut uring, address) = listening(&Config { connections_max: 20, table_max: 3, ..small() });
    assert_eq!(uring.tables.len(), 7, "the accepts in flight have their places, and no more");
    for round in 0..3 {
        let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|id| writing_client(address, id)).collect();
        let mut all = served(&mut uring, CLIENTS.into());
        all.sort_unstable_by_key(|(_, id)| *id);
        assert!(all.iter().map(|(_, id)| *id).eq(0..CLIENTS), "round {round}: {all:?}");
        for (slot, id) in &all {
            uring.send(*slot, vec![*id; 100]);
        }
        let mut sent = 0;
        turn_until(&mut uring, |events| {
            sent += events.iter().filter(|event| matches!(event, Event::Sent { result: Ok(()), .. })).count();
            (sent == all.len()).then_some(())
        });
        for (client, id) in clients.iter_mut().zip(0..) {
            let mut answer = [0; 100];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [id; 100], "round {round}");
        }
        for (slot, _) in all {
            uring.close(slot, Close::Now);
        }
        let mut closed = 0;
        turn_until(&mut uring, |events| {
            closed += events.iter().filter(|event| matches!(event, Event::Closed { .. })).count();
            (closed == usize::from(CLIENTS)).then_some(())
        });
        assert!(clients.iter_mut().all(|client| client.read(&mut [0]).unwrap() == 0), "FIN, not RST");
    }
    assert_eq!(uring.tables.len(), 7);
}

/// A wait that is ended by what it waits for: `happens` in another thread while this one sleeps, again and again.
fn ends_a_long_wait(uring: &mut Uring, happens: impl Fn() + Send + Sync, is_so: impl Fn(&Event) -> bool) {
    for round in 0..20 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Now before the sleep, now during it.
                std::thread::sleep(Duration::from_millis(round % 3));
                happens();
            });
            let far = uring.now() + Duration::from_secs(10);
            loop {
                let mut events = Vec::new();
                uring.turn(Some(far), &mut events).unwrap();
                assert!(uring.now() < far, "round {round}: the wait was not ended, {uring:?}");
                if events.iter().any(&is_so) {
                    return;
                }
            }
        });
    }
}

#[test]
fn whatever_table_has_something_ends_the_wait_and_so_does_another_thread() {
    let (mut uring, address) = listening(&Config { connections_max: 5, table_max: 1, ..small() });
    let clients: Vec<(TcpStream, Slot)> = (0..5).map(|_| connected(&mut uring, address)).collect();
    assert_eq!(uring.tables.len(), 5);
    for (client, _) in &clients {
        let write = || (&*client).write_all(b"x").unwrap();
        ends_a_long_wait(&mut uring, write, |event| matches!(event, Event::Data { .. }));
        let waker = uring.waker().clone();
        ends_a_long_wait(&mut uring, || waker.wake(), |event| matches!(event, Event::Wake));
        let soon = uring.now() + Duration::from_millis(2);
        uring.turn(Some(soon), &mut Vec::new()).unwrap();
        assert_eq!(uring.tables.awake(0), None, "who has nothing to do sleeps");
    }
}

#[test]
fn a_ring_that_was_refused_is_not_wanted_again_in_every_turn() {
    std::thread::spawn(|| {
        private_table(&[]).unwrap();
        let mut tables = Tables::new(1).unwrap();
        tables.take().unwrap();
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        assert_eq!(tables.take().unwrap_err().raw_os_error(), Some(libc::EMFILE));
        files.clear();
        assert_eq!(tables.take().unwrap_err().raw_os_error(), Some(libc::EMFILE), "as it was told");
        tables.free(table::Place { table: 0, file: 0 });
        tables.take().expect("a place that is free is there all the same");
        while clock::now() < tables.refused_until() {
            std::thread::yield_now();
        }
        tables.take().expect("there is room for a ring now");
    })
    .join()
    .unwrap();
}

#[test]
fn a_table_that_has_no_descriptor_left_pauses_accepting_until_it_can_be_made() {
    std::thread::spawn(|| {
        private_table(&[]).unwrap();
        let (mut uring, address) = listening(&Config { table_max: 2, connections_max: 2, ..small() });
        uring.connections_max = 4; // so that the second table is wanted only now
        let mut clients: Vec<TcpStream> = (0..2).map(|id| writing_client(address, id)).collect();
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        let (mut paused, mut first) = (false, 0);
        turn_until(&mut uring, |events| {
            for event in events {
                paused |= matches!(event, Event::AcceptPaused { why: AcceptPause::ProcessFiles });
                first += usize::from(matches!(event, Event::Data { .. }));
            }
            (paused && first == 2).then_some(())
        });
        files.pop();
        assert!(TcpStream::connect(address).is_err(), "it has left its group, and is alone");
        files.clear();
        turn_until(&mut uring, |events| {
            events.iter().any(|event| matches!(event, Event::AcceptResumed)).then_some(())
        });
        clients.push(writing_client(address, 9));
        assert_eq!(served(&mut uring, 1)[0].1, 9);
        assert_eq!(uring.tables.len(), 2);
    })
    .join()
    .unwrap();
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
