//! A token bucket without a timer: the moment at which it would be full again.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

const SECOND_NS: u64 = 1_000_000_000;

/// Holds one second's worth of requests.
#[derive(Debug)]
pub(crate) struct Bucket {
    born: Instant,
    cost_ns: u64,
    full_at_ns: AtomicU64,
}

impl Bucket {
    pub(crate) fn new(rate: NonZeroU32) -> Bucket {
        Bucket { born: Instant::now(), cost_ns: SECOND_NS / u64::from(rate.get()), full_at_ns: AtomicU64::new(0) }
    }

    /// Takes one token, or says after how many seconds there is one.
    pub(crate) fn take(&self) -> Result<(), u32> {
        self.take_at(u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX / 2))
    }

    fn take_at(&self, now_ns: u64) -> Result<(), u32> {
        let full_after = |full_at: u64| full_at.max(now_ns) + self.cost_ns;
        self.full_at_ns
            .fetch_update(Relaxed, Relaxed, |full_at| Some(full_after(full_at)).filter(|after| after - now_ns <= SECOND_NS))
            .map(drop)
            .map_err(|full_at| {
                let wait_ns = full_after(full_at) - now_ns - SECOND_NS;
                u32::try_from(wait_ns.div_ceil(SECOND_NS)).unwrap_or(u32::MAX)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_burst_of_one_second_and_then_its_rate() {
        let bucket = Bucket::new(NonZeroU32::new(10).expect("it is not 0"));
        let taken = |now_ns| (0..100).take_while(|_| bucket.take_at(now_ns).is_ok()).count();
        assert_eq!(taken(0), 10);
        assert_eq!(bucket.take_at(0), Err(1));
        assert_eq!(taken(SECOND_NS / 2), 5);
        assert_eq!(taken(9 * SECOND_NS), 10, "it never holds more than one second's worth");
    }
}
