//! The native protocol from outside: what is written comes back, and what is not a frame is told early.

use proptest::prelude::*;
use throng_wire::limits::{BODY_BYTES_MAX, FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_LOGIN};
use throng_wire::native::{
    Bye, DecodeError, ErrorCode, Frame, Frames, HELLO_BYTES, Hello, MessageId, Receiver, Recipient, Refusal,
    Sequence, Uncertainty, UserId, Welcome,
};

fn bytes_of(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    bytes
}

fn hello() -> Frame<'static> {
    Frame::Hello(Hello { version_min: 1, version_max: 3, user: UserId(77), device: 5 })
}

fn to_server() -> Vec<Frame<'static>> {
    vec![
        hello(),
        Frame::Send { id: MessageId(9), to: Recipient::User(UserId(8)), body: b"hello there" },
        Frame::Send { id: MessageId(10), to: Recipient::User(UserId(8)), body: b"" },
        Frame::Ack { sequence: Sequence(u64::MAX) },
        Frame::Ping { token: 1 },
        Frame::Pong { token: 2 },
        Frame::Bye { why: Bye::Leaving, wait_ms: 0 },
    ]
}

fn to_client() -> Vec<Frame<'static>> {
    vec![
        Frame::Welcome(Welcome {
            version: 1,
            outstanding_max: 64,
            frame_bytes_max: 65_536,
            idle_timeout_ms: 600_000,
        }),
        Frame::Deliver { sequence: Sequence(3), from: UserId(2), id: MessageId(1), body: b"x" },
        Frame::Accepted { id: MessageId(4) },
        Frame::Refused { id: MessageId(5), why: Refusal::NotConnected },
        Frame::Unknown { id: MessageId(6), why: Uncertainty::ConnectionLost },
        Frame::Error { code: ErrorCode::SlowReader, text: "read faster" },
        Frame::Ping { token: 1 },
        Frame::Pong { token: 2 },
        Frame::Bye { why: Bye::Draining, wait_ms: 1500 },
    ]
}

/// Reads all of `bytes`, given in pieces that end at `cuts`, as a session does: what is left goes before what comes.
fn read(
    bytes: &[u8],
    cuts: &[usize],
    receiver: Receiver,
    sink: &mut Vec<Vec<u8>>,
) -> Result<Vec<u8>, DecodeError> {
    let mut kept: Vec<u8> = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        kept.extend_from_slice(&bytes[from..to]);
        from = to;
        let whole = std::mem::take(&mut kept);
        let mut frames = Frames::new(&whole, receiver, FRAME_BYTES_MAX);
        while let Some(frame) = frames.next()? {
            sink.push(bytes_of(&[frame]));
        }
        kept = frames.rest().to_vec();
    }
    Ok(kept)
}

#[test]
fn every_frame_comes_back_as_it_was_written() {
    for (receiver, written) in [(Receiver::Server, to_server()), (Receiver::Client, to_client())] {
        let bytes = bytes_of(&written);
        let mut frames = Frames::new(&bytes, receiver, FRAME_BYTES_MAX);
        for frame in written {
            assert_eq!(frames.next(), Ok(Some(frame)));
        }
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.rest().is_empty());
    }
}

#[test]
fn a_stream_cut_at_every_byte_reads_the_same() {
    for (receiver, written) in [(Receiver::Server, to_server()), (Receiver::Client, to_client())] {
        let bytes = bytes_of(&written);
        let whole: Vec<Vec<u8>> = written.iter().map(|frame| bytes_of(&[*frame])).collect();
        for cut in 0..=bytes.len() {
            let mut seen = Vec::new();
            assert_eq!(read(&bytes, &[cut], receiver, &mut seen), Ok(Vec::new()), "cut at {cut}");
            assert_eq!(seen, whole, "cut at {cut}");
        }
        let every_byte: Vec<usize> = (1..bytes.len()).collect();
        let mut seen = Vec::new();
        assert_eq!(read(&bytes, &every_byte, receiver, &mut seen), Ok(Vec::new()));
        assert_eq!(seen, whole);
    }
}

#[test]
fn a_truncated_frame_is_not_a_frame_yet() {
    for frame in to_server() {
        let bytes = bytes_of(&[frame]);
        for len in 0..bytes.len() {
            let mut frames = Frames::new(&bytes[..len], Receiver::Server, FRAME_BYTES_MAX);
            assert_eq!(frames.next(), Ok(None), "{frame:?} at {len}");
            assert_eq!(frames.rest(), &bytes[..len]);
        }
    }
}

#[test]
fn a_frame_beyond_the_limit_is_told_from_its_header_alone() {
    let body = vec![7; 2000];
    let bytes = bytes_of(&[Frame::Send { id: MessageId(1), to: Recipient::User(UserId(2)), body: &body }]);
    let mut frames = Frames::new(&bytes[..8], Receiver::Server, FRAME_BYTES_MAX_BEFORE_LOGIN);
    let error = frames.next().unwrap_err();
    assert_eq!(error, DecodeError::TooLong { length: 2024, limit: 1024 });
    assert_eq!(error.code(), ErrorCode::FrameTooLong);
}

#[test]
fn a_body_that_could_be_sent_but_not_delivered_is_too_long() {
    let send = |bytes: usize| {
        let body = vec![7; bytes];
        bytes_of(&[Frame::Send { id: MessageId(1), to: Recipient::User(UserId(2)), body: &body }])
    };
    let longest = send(BODY_BYTES_MAX);
    let Ok(Some(Frame::Send { body, .. })) = Frames::new(&longest, Receiver::Server, FRAME_BYTES_MAX).next()
    else {
        panic!("the longest body is allowed");
    };
    let delivered =
        bytes_of(&[Frame::Deliver { sequence: Sequence(1), from: UserId(1), id: MessageId(1), body }]);
    assert!(matches!(Frames::new(&delivered, Receiver::Client, FRAME_BYTES_MAX).next(), Ok(Some(_))));
    let error = Frames::new(&send(BODY_BYTES_MAX + 1), Receiver::Server, FRAME_BYTES_MAX).next().unwrap_err();
    assert!(matches!(error, DecodeError::TooLong { .. }), "{error}");
}

#[test]
fn a_frame_that_only_the_other_side_sends_is_named() {
    for (receiver, written) in [(Receiver::Client, to_server()), (Receiver::Server, to_client())] {
        let one_way = written.len() - 3; // ping, pong and bye go both ways
        for frame in &written[..one_way] {
            let bytes = bytes_of(&[*frame]);
            let error = Frames::new(&bytes, receiver, FRAME_BYTES_MAX).next().unwrap_err();
            assert_eq!(error, DecodeError::WrongDirection(bytes[4]), "{frame:?}");
        }
    }
}

#[test]
fn lengths_that_do_not_fit_their_kind_are_refused_at_the_header() {
    for frame in to_server().into_iter().chain(to_client()) {
        let receiver = if to_server().contains(&frame) { Receiver::Server } else { Receiver::Client };
        let mut bytes = bytes_of(&[frame]);
        for length in [0u32, 1, 7] {
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            let error = Frames::new(&bytes, receiver, FRAME_BYTES_MAX).next().unwrap_err();
            assert_eq!(error, DecodeError::BadLength { kind: bytes[4], length });
        }
    }
}

#[test]
fn fields_that_must_be_zero_or_known_are_checked() {
    let cases: [(Frame<'_>, Receiver, usize, &str); 6] = [
        (hello(), Receiver::Server, 5, "flag"),
        (hello(), Receiver::Server, 6, "code"),
        (hello(), Receiver::Server, 8, "magic"),
        (hello(), Receiver::Server, 28, "0"),
        (Frame::Bye { why: Bye::Idle, wait_ms: 0 }, Receiver::Client, 7, "code"),
        (Frame::Bye { why: Bye::Idle, wait_ms: 0 }, Receiver::Client, 12, "0"),
    ];
    for (frame, receiver, at, field) in cases {
        let mut bytes = bytes_of(&[frame]);
        bytes[at] ^= 0x80;
        let error = Frames::new(&bytes, receiver, FRAME_BYTES_MAX).next().unwrap_err();
        assert_eq!(error, DecodeError::BadField { kind: bytes[4], field }, "{frame:?} at {at}");
        assert_eq!(error.code(), ErrorCode::BadFrame);
    }
}

#[test]
fn nobody_is_not_a_user() {
    let mut bytes = bytes_of(&[hello()]);
    bytes[16..24].fill(0);
    let error = Frames::new(&bytes, Receiver::Server, FRAME_BYTES_MAX).next().unwrap_err();
    assert_eq!(error, DecodeError::BadField { kind: 1, field: "user" });
}

#[test]
fn a_long_error_text_is_cut_at_a_character() {
    let text = "ä".repeat(150);
    let bytes = bytes_of(&[Frame::Error { code: ErrorCode::BadFrame, text: &text }]);
    let mut frames = Frames::new(&bytes, Receiver::Client, FRAME_BYTES_MAX);
    let Ok(Some(Frame::Error { text: read, .. })) = frames.next() else { panic!("not an error frame") };
    assert_eq!(read, &text[..200]);
}

#[test]
fn the_drawing_and_the_bytes_agree() {
    let bytes = bytes_of(&[hello()]);
    let expected: [u8; HELLO_BYTES] =
        *b"\x20\0\0\0\x01\0\0\0THRG\x01\0\x03\0\x4d\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0";
    assert_eq!(bytes, expected);
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_never_read_beyond_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for receiver in [Receiver::Server, Receiver::Client] {
            let mut frames = Frames::new(&bytes, receiver, FRAME_BYTES_MAX);
            while let Ok(Some(_)) = frames.next() {}
        }
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(kind in 0u8..14, code in 0u16..13, body in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = ((8 + body.len()) as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&[kind, 0]);
        bytes.extend_from_slice(&code.to_le_bytes());
        bytes.extend_from_slice(&body);
        for receiver in [Receiver::Server, Receiver::Client] {
            if let Ok(Some(frame)) = Frames::new(&bytes, receiver, FRAME_BYTES_MAX).next() {
                prop_assert_eq!(&bytes_of(&[frame]), &bytes);
            }
        }
    }
}
