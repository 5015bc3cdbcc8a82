//! HTTP/2 by the frame, to send what no client library sends.

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// How a client begins.
pub(crate) fn hello() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Length (3 bytes), type, flags, stream (4 bytes), payload.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /notes/a` in HPACK: two fields of the static table, two literals that enter no table.
pub(crate) fn get() -> Vec<u8> {
    let literal = |index: u8, value: &str| [&[index, u8::try_from(value.len()).expect("it is short")], value.as_bytes()].concat();
    [vec![0x82, 0x86], literal(0x04, "/notes/a"), literal(0x01, "localhost")].concat()
}

/// Streams that the client may open: odd ones.
pub(crate) fn streams() -> impl Iterator<Item = u32> + Clone {
    (1..u32::MAX >> 1).step_by(2)
}
