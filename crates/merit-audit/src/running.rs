//! One digest over a sequence of records that grew one at a time.

use merit_core::Digest;
use sha2::{Digest as _, Sha256};

/// A digest of all records so far; its 32 bytes are its whole state.
///
/// Start: `SHA-256("merit.audit/running/v1")`. Step: `SHA-256(state[32] || u8 kind || u32 length || datum)`, big-endian.
///
/// A record costs one hash of 37 bytes more than its encoding. Its type is the number of its
/// [`Kind`](merit_core::Kind), which never changes; the schema behind a number is that of the configuration in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running(pub Digest);

impl Running {
    /// Takes one record's type and encoding, which is shorter than 4 GiB.
    #[inline]
    pub fn update(&mut self, kind: u8, datum: &[u8]) {
        let mut head = [0; 37];
        head[..32].copy_from_slice(&self.0);
        head[32] = kind;
        head[33..].copy_from_slice(&(datum.len() as u32).to_be_bytes());
        self.0 = Sha256::new_with_prefix(head).chain_update(datum).finalize().into();
    }
}

impl Default for Running {
    fn default() -> Self {
        Running(Sha256::digest(b"merit.audit/running/v1").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(records: &[(u8, &[u8])]) -> Digest {
        let mut running = Running::default();
        records.iter().for_each(|(kind, datum)| running.update(*kind, datum));
        running.0
    }

    #[test]
    fn what_was_read_how_often_and_in_which_order_is_told_apart() {
        let digests = [
            over(&[]),
            over(&[(1, b"")]),
            over(&[(1, b""), (1, b"")]),
            over(&[(1, b"ab"), (2, b"c")]),
            over(&[(2, b"c"), (1, b"ab")]),
            over(&[(1, b"a"), (2, b"bc")]),
            over(&[(2, b"ab"), (1, b"c")]),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert_eq!(digests.iter().position(|other| other == digest), Some(at));
        }
    }
}
