//! What a log holds: records of every type, and the batches that they are stored in.

use merit_codec::{from_json, to_json};
use merit_core::{Datum, Kind, Payload};
use merit_runtime::frame::{self, Frame};

/// A record: the number of its type, then its encoding.
///
/// A type has one encoding a value: what decodes encodes to the same bytes, and its JSON leads back to them.
pub fn avro(bytes: &[u8]) -> bool {
    let Some((kind, bytes)) = bytes.split_first().and_then(|(number, bytes)| Some((Kind::from_number(*number)?, bytes))) else {
        return false;
    };
    let again = Payload::decode(kind, bytes, |payload| {
        assert_eq!(payload.kind(), kind);
        assert!(payload.parents().iter().count() == payload.parents().len());
        let mut again = Vec::new();
        payload.put(&mut again);
        again
    });
    let json = to_json(kind.shape(), bytes);
    match (&again, &json) {
        (Some(again), Some(json)) => {
            assert_eq!(again, bytes);
            match from_json(kind.shape(), json) {
                Ok(read) => assert_eq!(read, bytes),
                // The one decimal that has no text, as from_json says.
                Err(problem) => assert!(problem.contains("-9223372036854.775808"), "{problem}"),
            }
        }
        (Some(_), None) => panic!("a {} has no JSON", kind.name()),
        // The shape knows less than the field: it takes negative numbers where the field is unsigned.
        (None, _) => {}
    }
    again.is_some()
}

/// Bytes as a stored batch, and as the body of one.
pub fn batch(bytes: &[u8]) -> bool {
    let unpacked = frame::unpack(bytes);
    if let Some((count, body)) = &unpacked {
        assert_eq!(frame::unpack(&frame::pack(*count, body)).as_ref(), Some(&(*count, body.clone())));
        frames_are_canonical(body);
    }
    let packed = frame::pack(7, bytes);
    assert_eq!(frame::unpack(&packed), Some((7, bytes.to_vec())));
    assert!((0..packed.len().min(32)).all(|cut| frame::unpack(&packed[..cut]).is_none_or(|(_, body)| body != bytes)));
    frames_are_canonical(bytes) | unpacked.is_some()
}

/// Frames encode to the bytes that they were read from; whether all bytes are frames.
fn frames_are_canonical(body: &[u8]) -> bool {
    let mut again = Vec::new();
    let mut frames = frame::frames(body);
    let whole = frames.by_ref().all(|frame: Option<Frame<'_>>| {
        frame.is_some_and(|frame| {
            frame.put(&mut again);
            true
        })
    });
    assert!(frames.next().is_none());
    assert!(body.starts_with(&again) && (again.len() == body.len()) == whole);
    whole && !body.is_empty()
}
