//! Any bytes as a packet: what is read lies within them, and comes out the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throng_tcp::segment::{self, Checksum, Fill, HEADER_BYTES, MSS_OPTION_BYTES};

fuzz_target!(|bytes: &[u8]| {
    let _ = segment::read(bytes, Checksum::Verify);
    let Ok(read) = segment::read(bytes, Checksum::Trusted) else { return };
    let payload = &bytes[read.payload.clone()];
    let mut again = vec![0; HEADER_BYTES + MSS_OPTION_BYTES + payload.len()];
    if again.len() > usize::from(u16::MAX) {
        return;
    }
    let len = segment::write(&read.header, [payload, b""], Fill::Whole, &mut again);
    let second = segment::read(&again[..len], Checksum::Verify).expect("what we write can be read");
    assert_eq!((second.header, &again[second.payload]), (read.header, payload));
    let mut partial = again.clone();
    segment::write(&read.header, [payload, b""], Fill::Partial, &mut partial);
    segment::complete(&mut partial[..len]);
    assert_eq!(partial, again);
});
