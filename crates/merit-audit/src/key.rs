//! Emitter keys: Ed25519, named, and known in a leaf by four bytes.

use alloc::string::String;
use core::fmt;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use merit_core::Digest;
use sha2::{Digest as _, Sha256};

/// Domain of an emitter's signature; the event hash follows.
const EMIT: &[u8; 20] = b"merit.audit/emit/v1\0";

/// The message that an emitter signs: the domain `merit.audit/emit/v1`, a zero byte, the event hash.
pub fn emit_message(event_hash: &Digest) -> [u8; 52] {
    let mut message = [0; 52];
    message[..20].copy_from_slice(EMIT);
    message[20..].copy_from_slice(event_hash);
    message
}

/// The four bytes that name a key: `SHA-256(name || 0x0A || 0x01 || public key)[..4]`, big-endian (C2SP signed-note).
pub fn key_id(name: &str, public: &[u8; 32]) -> u32 {
    let hash = Sha256::new().chain_update(name).chain_update([0x0a, 0x01]).chain_update(public).finalize();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

/// One signature of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The key that made it.
    pub key_id: u32,
    /// Ed25519 over [`emit_message`].
    pub bytes: [u8; 64],
}

/// The secret half of an emitter key.
pub struct Signer {
    name: String,
    key_id: u32,
    key: SigningKey,
}

impl Signer {
    /// A key from its 32 secret bytes (the seed of RFC 8032).
    pub fn new(name: &str, secret: &[u8; 32]) -> Signer {
        let key = SigningKey::from_bytes(secret);
        Signer { name: name.into(), key_id: key_id(name, key.verifying_key().as_bytes()), key }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`key_id`].
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// Its public half.
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs an envelope by its hash; the same hash gives the same bytes.
    pub fn sign(&self, event_hash: &Digest) -> Signature {
        Signature { key_id: self.key_id, bytes: self.key.sign(&emit_message(event_hash)).to_bytes() }
    }
}

/// Shows no secret.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} {:08x})", self.name, self.key_id)
    }
}

/// The public half of an emitter key.
#[derive(Clone, Debug)]
pub struct EmitterKey {
    key_id: u32,
    key: VerifyingKey,
}

impl EmitterKey {
    /// A key from its 32 public bytes.
    pub fn new(name: &str, public: &[u8; 32]) -> Result<EmitterKey, NoKey> {
        match VerifyingKey::from_bytes(public) {
            Ok(key) if !key.is_weak() && key.to_edwards().compress().as_bytes() == public => {
                Ok(EmitterKey { key_id: key_id(name, public), key })
            }
            Ok(_) | Err(_) => Err(NoKey(name.into())),
        }
    }

    /// See [`key_id`].
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// Whether this key signed the envelope of that hash. Strict: one signature, one byte string.
    pub fn verify(&self, event_hash: &Digest, signature: &Signature) -> bool {
        self.key_id == signature.key_id && is_signed(&self.key, &emit_message(event_hash), &signature.bytes)
    }
}

/// Refuses what other programs may judge otherwise: points of low order, encodings and scalars that are not reduced.
fn is_signed(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
}

/// 32 bytes that are no usable Ed25519 public key; it holds the key's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoKey(pub String);

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not read public key {:?}: not the canonical encoding of a point of large order", self.0)
    }
}

impl core::error::Error for NoKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::Verifier as _;

    /// The points of low order on edwards25519, with every encoding that a lenient reader takes for one of them.
    const LOW_ORDER: [&str; 14] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"))
    }

    /// With such a key and such an R, S = 0 is a signature of about every eighth message to programs that check less.
    #[test]
    fn signatures_that_need_no_secret_are_refused() {
        let mut taken_elsewhere = 0;
        for key in LOW_ORDER {
            let Ok(key) = VerifyingKey::from_bytes(&bytes(key)) else { continue };
            for point in LOW_ORDER {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(&bytes::<32>(point));
                for message in 0..64_u8 {
                    taken_elsewhere += u32::from(key.verify(&[message], &ed25519_dalek::Signature::from_bytes(&signature)).is_ok());
                    assert!(!is_signed(&key, &[message], &signature), "message {message}, R {point}");
                }
            }
        }
        assert!(taken_elsewhere > 100, "{taken_elsewhere}");
    }

    /// Test 2 of RFC 8032 section 7.1, and the same with S + L in place of S.
    #[test]
    fn one_message_has_one_signature() {
        let key = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let key = VerifyingKey::from_bytes(&key).expect("a key");
        let signature: [u8; 64] = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        assert!(is_signed(&key, &[0x72], &signature));
        assert!(!is_signed(&key, &[0x73], &signature));

        let order: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let (mut malleable, mut carry) = (signature, 0);
        for (byte, order) in malleable[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert_ne!(malleable, signature);
        assert!(!is_signed(&key, &[0x72], &malleable));
    }

    #[test]
    fn keys_that_others_may_read_otherwise_are_no_keys() {
        let base = "5866666666666666666666666666666666666666666666666666666666666666";
        let not_reduced = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"; // y = p + 18, a point
        let off_the_curve = "0200000000000000000000000000000000000000000000000000000000000000";
        let refused = LOW_ORDER.into_iter().chain([not_reduced, off_the_curve]).map(|key| (key, false));
        for (key, good) in refused.chain([(base, true)]) {
            assert_eq!(EmitterKey::new("k", &bytes(key)).is_ok(), good, "{key}");
        }
    }
}
