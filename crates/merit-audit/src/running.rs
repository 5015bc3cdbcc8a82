//! One digest over a sequence of records that grew one at a time.

use merit_core::Digest;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

/// What a [`Running`] keeps over a restart: SHA-256 at work, that is 40 bytes of state and up to a block that waits.
pub type RunningState = SerializedState<Sha256>;

/// A digest of all records so far, said at each seal.
///
/// At a seal: `SHA-256(digest at the seal before[32] || for each record since: u8 kind || u32 length || datum)`, big-endian;
/// before the first seal stands `SHA-256("merit.audit/running/v2")`. So a seal says everything that a verifier needs to go on
/// behind it, and a record costs no more than its bytes.
///
/// A record's type is the number of its [`Kind`](merit_core::Kind), which never changes; the schema behind a number is that of
/// the configuration in force.
#[derive(Clone, Debug)]
pub struct Running(Sha256);

impl Running {
    /// Goes on behind a seal.
    pub fn after(sealed: &Digest) -> Running {
        Running(Sha256::new_with_prefix(sealed))
    }

    /// Takes one record's type and encoding, which is shorter than 4 GiB.
    #[inline]
    pub fn update(&mut self, kind: u8, datum: &[u8]) {
        let [a, b, c, d] = (datum.len() as u32).to_be_bytes();
        self.0.update([kind, a, b, c, d]);
        self.0.update(datum);
    }

    /// Ends what one seal covers, and begins what the next one will.
    pub fn seal(&mut self) -> Digest {
        let digest = self.0.finalize_reset().into();
        *self = Running::after(&digest);
        digest
    }

    /// To go on after a restart.
    pub fn state(&self) -> RunningState {
        self.0.serialize()
    }

    /// Goes on from that; `None` where it is no such state.
    pub fn resume(state: &[u8]) -> Option<Running> {
        Sha256::deserialize(state.try_into().ok()?).ok().map(Running)
    }
}

impl Default for Running {
    fn default() -> Self {
        Running::after(&Sha256::digest(b"merit.audit/running/v2").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(records: &[(u8, &[u8])]) -> Digest {
        let mut running = Running::default();
        records.iter().for_each(|(kind, datum)| running.update(*kind, datum));
        running.seal()
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

    #[test]
    fn it_goes_on_from_its_state_and_from_a_seal() {
        let mut running = Running::default();
        let mut resumed = Running::default();
        let mut sealed = None;
        for length in 0..300 {
            let datum = vec![length as u8; length];
            running.update(1, &datum);
            resumed = Running::resume(&resumed.state()).expect("its state");
            resumed.update(1, &datum);
            if length % 7 == 0 {
                let digest = running.seal();
                assert_eq!(resumed.seal(), digest);
                assert_ne!(sealed.replace(digest), Some(digest), "what came before counts");
                resumed = Running::after(&digest);
            }
        }
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let state = Running::default().state();
        assert!(Running::resume(&state).is_some());
        assert!(Running::resume(&state[1..]).is_none());
        assert!(Running::resume(&vec![0xff; state.len()]).is_none());
    }
}
