//! Records and batches of records as the embedded log stores them.
//!
//! A batch is one value: version (1 byte), codec (1 byte: 0 plain, 1 lz4 block), records (u32, big-endian),
//! length of the plain body (u32, big-endian), body. The body is the frames, one behind the other.

use merit_core::record::Headers;
use merit_core::{Datum, EventTime, Kind, datum};

const VERSION: u8 = 1;
const HEADER: usize = 10;

datum! {
    /// One record of a topic.
    Frame<'a> {
        /// Number of its type.
        kind: u32,
        /// How often what led here was fed back.
        hops: u32,
        /// Number of its stream; 65,535 for a record from outside.
        stream: u32,
        /// Its place in that stream; for a record from outside, its place among all of these.
        sequence: u64,
        /// Its timestamp.
        time: EventTime,
        /// Its key.
        key: &'a str,
        /// What travels beside it.
        headers: Option<Headers<'a>>,
        /// Its encoding.
        payload: &'a [u8],
    }
}

impl Frame<'_> {
    /// Its type.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(u8::try_from(self.kind).ok()?)
    }

    /// Whether a producer wrote it.
    pub fn is_outside(&self) -> bool {
        self.stream == u32::from(merit_core::Head::OUTSIDE)
    }
}

/// Packs frames into the value of a batch.
pub fn pack(count: u32, body: &[u8]) -> Vec<u8> {
    let mut value = vec![0; HEADER + lz4_flex::block::get_maximum_output_size(body.len())];
    let length = match lz4_flex::block::compress_into(body, &mut value[HEADER..]) {
        Ok(length) if length < body.len() => {
            value[1] = 1;
            length
        }
        _ => {
            value.truncate(HEADER);
            value.extend_from_slice(body);
            body.len()
        }
    };
    value.truncate(HEADER + length);
    value[0] = VERSION;
    value[2..6].copy_from_slice(&count.to_be_bytes());
    value[6..10].copy_from_slice(&(body.len() as u32).to_be_bytes());
    value
}

/// The largest body that a batch may have; one record is 64 MiB at most.
const MAX_BODY: usize = 128 << 20;

/// Unpacks a batch: the number of its records and its body; `None` where the value is not one.
pub fn unpack(value: &[u8]) -> Option<(u32, Vec<u8>)> {
    let (header, packed) = value.split_at_checked(HEADER)?;
    let count = u32::from_be_bytes(header[2..6].try_into().ok()?);
    let length = u32::from_be_bytes(header[6..10].try_into().ok()?) as usize;
    if header[0] != VERSION || length > MAX_BODY {
        return None;
    }
    let body = match header[1] {
        0 => packed.to_vec(),
        1 => lz4_flex::block::decompress(packed, length).ok()?,
        _ => return None,
    };
    (body.len() == length).then_some((count, body))
}

/// The frames of a body with the offsets from `base` on.
pub fn frames(body: &[u8]) -> impl Iterator<Item = Option<Frame<'_>>> {
    let mut rest = body;
    core::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let frame = Frame::get(&mut rest);
            if frame.is_none() {
                rest = &[];
            }
            frame
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_written_and_a_torn_one_is_refused() {
        let frame =
            Frame { kind: 1, hops: 0, stream: 65_535, sequence: 7, time: EventTime(5), key: "agent", headers: None, payload: &[1, 2, 3] };
        let mut body = Vec::new();
        (0..50).for_each(|_| frame.put(&mut body));
        let value = pack(50, &body);
        assert!(value.len() < body.len());
        let (count, read) = unpack(&value).expect("whole");
        assert_eq!((count, &read), (50, &body));
        assert!(frames(&read).all(|read| read == Some(frame)));
        for cut in 0..value.len() {
            assert!(unpack(&value[..cut]).is_none_or(|(_, read)| read != body), "{cut}");
        }
        assert!(frames(&body[..body.len() - 1]).any(|frame| frame.is_none()));
    }
}
