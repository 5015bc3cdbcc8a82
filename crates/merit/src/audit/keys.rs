//! Public keys as text: `NAME+ID+BASE64`, the verifier key of C2SP signed-note.

use crate::code;
use crate::failure::Failure;
use merit_audit::{EmitterKey, key_id};
use std::path::Path;

/// First byte of the encoded key: Ed25519.
const ALGORITHM: u8 = 1;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Reads keys, each one itself or a file with one a line.
pub(super) fn read(given: &[String]) -> Result<Vec<EmitterKey>, Failure> {
    let mut keys = Vec::new();
    for given in given {
        match parse(given) {
            Some(key) => keys.push(key),
            None => keys.extend(read_file(Path::new(given))?),
        }
    }
    Ok(keys)
}

fn read_file(path: &Path) -> Result<Vec<EmitterKey>, Failure> {
    let refused = |why: String| {
        Failure::new(code::KEY_INVALID, format!("{:?} is no public key and no file of them", path.display().to_string())).because(why)
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let keys: Vec<EmitterKey> = lines
        .map(|(at, line)| parse(line.trim()).ok_or_else(|| refused(format!("line {} is no public key", at + 1))))
        .collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(refused("it is empty".into())) } else { Ok(keys) }
}

/// Reads one key; `None` where the text is none or its id is not that of name and key.
fn parse(text: &str) -> Option<EmitterKey> {
    let (name, rest) = text.split_once('+')?;
    let (id, encoded) = rest.split_once('+')?;
    let bytes = decode(encoded)?;
    let public: [u8; 32] = bytes.strip_prefix(&[ALGORITHM])?.try_into().ok()?;
    (u32::from_str_radix(id, 16) == Ok(key_id(name, &public))).then(|| EmitterKey::new(name, &public).ok())?
}

/// Writes one key.
pub(super) fn write(name: &str, public: &[u8; 32]) -> String {
    let mut bytes = vec![ALGORITHM];
    bytes.extend_from_slice(public);
    format!("{name}+{:08x}+{}", key_id(name, public), encode(&bytes))
}

/// Base64 of RFC 4648 section 4 for 33 bytes, which need no padding.
fn encode(bytes: &[u8]) -> String {
    let letters = |group: &[u8]| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[bits >> shift & 63]))
    };
    bytes.chunks_exact(3).flat_map(letters).collect()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let values: Vec<u32> =
        text.bytes().map(|letter| ALPHABET.iter().position(|known| *known == letter).map(|at| at as u32)).collect::<Option<_>>()?;
    let (groups, over) = values.as_chunks::<4>();
    let bytes = |group: &[u32; 4]| {
        let [_, bytes @ ..] = group.iter().fold(0_u32, |bits, value| bits << 6 | value).to_be_bytes();
        bytes
    };
    over.is_empty().then(|| groups.iter().flat_map(bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the C2SP signed-note example.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_key_is_read_as_it_was_written_and_a_changed_one_is_refused() {
        let key = parse(PETER).expect("a key");
        assert_eq!(key.key_id(), 0xc74f_20a3);
        let public: [u8; 32] = decode(&PETER[22..]).expect("base64")[1..].try_into().expect("33 bytes");
        assert_eq!(write("PeterNeumann", &public), PETER);
        for changed in ["", "a+b", "PeterNeumann+c74f20a3", &PETER.replace("c7", "c8"), &PETER.replace("Peter", "Petra"), &PETER[..65]] {
            assert!(parse(changed).is_none(), "{changed}");
        }
    }
}
