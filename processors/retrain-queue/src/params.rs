//! Parameters.

use alloc::string::String;
use alloc::vec::Vec;
use merit_core::settings::Reader;
use merit_core::{Problem, Settings};

/// What every job asks for.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// Where its GPUs come from. Default `gpus-us-east`.
    pub pool: String,
    /// Milli-GPUs, above 0. Default 1,000.
    pub gpus: u64,
    /// Milli-GPU hours that it is expected to take, above 0. Default 8,000.
    pub gpu_hours: u64,
}

impl Params {
    /// The most whole GPUs, and GPU hours, of a job.
    const MOST: u64 = 1_000_000;

    /// Reads them from under `retrain-queue`.
    pub fn read(settings: &Settings) -> (Params, Vec<Problem>) {
        let mut reader = Reader::new(settings, "retrain-queue");
        let pool = reader.text("pool", "gpus-us-east");
        let [gpus, gpu_hours] = [("gpus", 1), ("gpu_hours", 8)].map(|(name, default)| {
            let whole = reader.whole(name, default);
            if !(1..=Self::MOST).contains(&whole) {
                reader.refuse(name, "must be 1 to 1000000, whole");
            }
            whole.min(Self::MOST) * 1_000
        });
        (Params { pool, gpus, gpu_hours }, reader.problems)
    }
}
