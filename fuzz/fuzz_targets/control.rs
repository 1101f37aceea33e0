//! Bytes as what a caller of the control channel sends, in pieces: whatever they are, a greeting behind them is heard, and what
//! waits to be sent stays bounded.

#![no_main]

use bootwright_bundle::control::{Frame, FrameKind, Heard, Session};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut session = Session::default();
    for piece in bytes.chunks(1 + bytes.len() / 3) {
        session.take(piece, |_| {});
    }
    assert!(session.pending().len() < 1 << 20 || session.full());
    let mut hello = vec![0];
    let payload = br#"{"version":1,"nonce":42}"#.to_vec();
    Frame { kind: FrameKind::Hello, id: 0, payload }.encode(&mut hello);
    let mut greeted = false;
    session.take(&hello, |heard| greeted |= matches!(heard, Heard::Greeting(greeting) if greeting.nonce == 42));
    assert!(greeted);
});
