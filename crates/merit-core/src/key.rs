//! Record keys and their partition.

use core::hash::Hasher;
use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// A record's key, hashed once for every table that it meets.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key as the topic carries it.
    pub name: &'a str,
    /// In-memory hash of the name; never stored, never ordering anything. It is another in every process, so that names which would
    /// meet in a table cannot be sent on purpose.
    pub hash: u64,
}

impl<'a> Key<'a> {
    /// Hashes a name.
    pub fn new(name: &'a str) -> Key<'a> {
        let mut hasher = FoldHasher::with_seed(0, SharedSeed::global_random());
        hasher.write(name.as_bytes());
        Key { name, hash: hasher.finish() }
    }

    /// The partition of this key among `count`, as Kafka's Java client chooses it.
    pub fn partition(&self, count: u32) -> u32 {
        (murmur2(self.name.as_bytes()) & 0x7fff_ffff) % count
    }
}

/// MurmurHash2, 32 bit, seed 0x9747b28c: the hash of Kafka's default partitioner
/// (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        h ^= rest.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_equals_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }
}
