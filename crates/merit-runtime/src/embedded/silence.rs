//! Which partitions of reports have to be told the time that others have reached. Nothing here reads a clock.

use merit_core::EventTime;
use std::time::{Duration, Instant};

/// A partition without Progress for so long gets a Tick, if another moved; design 4.
const SILENCE: Duration = Duration::from_secs(60);

/// What is known of the partitions of `eval.reports`, by their numbers in it.
pub(crate) struct Silence {
    partitions: Vec<Known>,
    /// The largest time that moved a watermark; none before the first report.
    newest: Option<EventTime>,
}

#[derive(Clone, Copy)]
struct Known {
    /// Its Progress records, and when the last of them was noticed, or the worker began.
    progress: (u64, Instant),
    /// Its last report.
    moved: Option<Instant>,
}

impl Silence {
    /// Each partition with as many Progress records as it has; all begin to be silent now.
    pub(crate) fn new(progress: &[u64], at: Instant) -> Silence {
        let partitions = progress.iter().map(|count| Known { progress: (*count, at), moved: None }).collect();
        Silence { partitions, newest: None }
    }

    /// A report came that can move its partition's watermark to that time.
    pub(crate) fn report(&mut self, partition: usize, time: EventTime, at: Instant) {
        self.newest = self.newest.max(Some(time));
        self.partitions[partition].moved = Some(at);
    }

    /// Progress records of each partition until now.
    pub(crate) fn progress(&mut self, counts: &[u64], at: Instant) {
        for (known, count) in self.partitions.iter_mut().zip(counts) {
            if known.progress.0 != *count {
                known.progress = (*count, at);
            }
        }
    }

    /// The partitions that are due a Tick, and its time.
    pub(crate) fn due(&self, at: Instant) -> Vec<(usize, EventTime)> {
        let Some(newest) = self.newest else { return Vec::new() };
        let is_due = |(partition, known): &(usize, &Known)| {
            let (_, since) = known.progress;
            let moved = |(other, known): (usize, &Known)| other != *partition && known.moved.is_some_and(|moved| moved > since);
            at.duration_since(since) >= SILENCE && self.partitions.iter().enumerate().any(moved)
        };
        self.partitions.iter().enumerate().filter(is_due).map(|(partition, _)| (partition, newest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker's round every ten seconds: each Tick that is due is given, and gives its partition a Progress. What was given, by
    /// second and partition.
    fn ticks(partitions: usize, seconds: u64, reports: &[(u64, usize)], progress: &[(u64, usize)]) -> Vec<(u64, usize, i64)> {
        let start = Instant::now();
        let (mut counts, mut given) = (vec![0; partitions], Vec::new());
        let mut silence = Silence::new(&counts, start);
        for second in 1..=seconds {
            let at = start + Duration::from_secs(second);
            let of_now = |events: &[(u64, usize)]| events.iter().filter(|(when, _)| *when == second).map(|(_, at)| *at).collect::<Vec<_>>();
            of_now(reports).into_iter().for_each(|partition| silence.report(partition, EventTime(second as i64), at));
            of_now(progress).into_iter().for_each(|partition| counts[partition] += 1);
            if second % 10 == 0 {
                silence.progress(&counts, at);
                for (partition, time) in silence.due(at) {
                    given.push((second, partition, time.0));
                    counts[partition] += 1;
                }
                silence.progress(&counts, at);
            }
        }
        given
    }

    #[test]
    fn a_partition_without_progress_for_a_minute_is_told_once_how_far_the_others_are() {
        // Both of the others, and a minute later again, for the first one moved again.
        assert_eq!(ticks(3, 130, &[(5, 0), (59, 0), (100, 0)], &[]), [(60, 1, 59), (60, 2, 59), (120, 1, 100), (120, 2, 100)]);
        // Once, if nothing moved since.
        assert_eq!(ticks(2, 600, &[(5, 0)], &[]), [(60, 1, 5)]);
        // None before a minute is over, and the minute begins with the last Progress.
        assert_eq!(ticks(2, 59, &[(5, 0)], &[]), []);
        assert_eq!(ticks(2, 100, &[(5, 0), (45, 0)], &[(40, 1)]), [(100, 1, 45)]);
    }

    #[test]
    fn nothing_is_told_where_no_other_partition_moved() {
        assert_eq!(ticks(3, 600, &[], &[]), []);
        assert_eq!(ticks(1, 600, &[(5, 0), (300, 0)], &[]), []);
        // Its own report moves no other clock than its own.
        assert_eq!(ticks(2, 600, &[(5, 1)], &[(300, 0)]), [(60, 0, 5)]);
        // Another moved, and this one heard of it since.
        assert_eq!(ticks(2, 65, &[(5, 0)], &[(10, 0), (10, 1)]), []);
    }

    #[test]
    fn reports_too_few_for_a_progress_hold_no_aggregate_back() {
        let reports: Vec<(u64, usize)> = (1..18).flat_map(|tens| [(tens * 10 - 1, 0), (tens * 10 - 2, 1)]).collect();
        assert_eq!(ticks(2, 130, &reports, &[]), [(60, 0, 59), (60, 1, 59), (120, 0, 119), (120, 1, 119)]);
    }
}
