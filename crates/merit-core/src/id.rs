//! Digests and the ids of records.

use core::fmt;
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// A UUIDv8 that leads to its record: 48 bits of sequence, then 74 bits of SHA-256(stream, sequence).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The id of record `sequence` of the stream named `stream` (`sub-topology/processor/partition/lineage`).
    pub fn of_record(stream: &str, sequence: u64) -> Uuid {
        let hash = Sha256::new().chain_update(stream).chain_update([0]).chain_update(sequence.to_be_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&sequence.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&hash[..10]);
        bytes[6] = 0x80 | bytes[6] & 0x0f; // version 8, RFC 9562 section 5.8
        bytes[8] = 0x80 | bytes[8] & 0x3f; // variant, RFC 9562 section 4.1
        Uuid(bytes)
    }

    /// The low 48 bits of the sequence of the record that this id names.
    pub fn sequence(self) -> u64 {
        self.0[..6].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Reads the hyphenated form.
    pub fn parse(text: &str) -> Option<Uuid> {
        let mut bytes = [0; 16];
        let mut digits = text.bytes().enumerate().filter(|(at, b)| !(*b == b'-' && matches!(at, 8 | 13 | 18 | 23)));
        let mut digit = || digits.next().and_then(|(_, b)| char::from(b).to_digit(16));
        for byte in &mut bytes {
            *byte = u8::try_from(digit()? << 4 | digit()?).ok()?;
        }
        (text.len() == 36 && digit().is_none()).then_some(Uuid(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Lowercase hexadecimal of bytes.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_8_that_carries_its_sequence() {
        let id = Uuid::of_record("evaluate/ingest/0/aa", 7);
        let text = std::format!("{id}");
        assert_eq!(&text[..9], "00000000-");
        assert_eq!(&text[14..15], "8");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_eq!(Uuid::parse(&text), Some(id));
        assert_eq!(id.sequence(), 7);
        assert_ne!(id, Uuid::of_record("evaluate/ingest/1/aa", 7));
        assert_eq!(Uuid::parse("00000000-0007"), None);
    }
}
