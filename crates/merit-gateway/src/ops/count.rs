//! What commits hold, counted on the thread that folds them.

use super::metrics::{self, Metrics};
use crate::model::key::{Key, Table, last_id};
use crate::model::row::JobRow;
use ::metrics::{Counter, Gauge, Histogram};
use merit_core::record::{AllocationApplied, AllocationRejected, Rejected, RetrainQueued, RetrainStatus, RetrainUpdated};
use merit_core::{Datum, Kind, Uuid};
use merit_runtime::RuntimeError;
use merit_runtime::embedded::{Batches, Committed};
use merit_runtime::frame::{Frame, frames};
use merit_runtime::layout::Layout;
use merit_runtime::tables::{Direction, Tables};
use merit_runtime::task::Answered;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

/// The policy of an allocation whose policy id is none that the code knows.
const OTHER: &str = "other";

/// Records on their way into the read models.
pub struct Lag(Gauge);

impl Lag {
    /// Of those metrics.
    pub fn new(metrics: &Metrics) -> Lag {
        Lag(metrics.gauge(metrics::FOLD_LAG, &[]))
    }

    /// Adds what was committed.
    pub fn add(&self, batches: &Batches) {
        self.0.increment(records_in(batches));
    }
}

fn records_in(batches: &Batches) -> f64 {
    batches.iter().map(|(_, _, count, _)| f64::from(*count)).sum()
}

/// What the records of a topic tell beside their number.
#[derive(Clone, Copy)]
enum Tells {
    Nothing,
    Reports,
    Scores,
    Late,
    Rejected,
    Promotions,
    Allocations,
}

struct OfPartition {
    tells: Tells,
    records: Counter,
    bytes: Counter,
}

/// The counters of commits.
pub struct Tally {
    partitions: Vec<OfPartition>,
    commits: Counter,
    took: Histogram,
    folding: Histogram,
    lag: Gauge,
    accepted: Counter,
    late: Counter,
    duplicate: Counter,
    rejected: Counter,
    rerouted: Counter,
    /// By type.
    promotions: [(Kind, Counter); 4],
    /// By policy id: applied and rejected; the last is [`OTHER`].
    allocations: Vec<(&'static str, [Counter; 2])>,
    preemptions: Counter,
    queue: Gauge,
    /// Retrain jobs that are queued.
    queued: BTreeSet<Uuid>,
}

impl Tally {
    /// Counters of a log. `policies` are the policy ids that the code knows.
    pub fn new(metrics: &Metrics, layout: &Layout, tables: &Tables, policies: Vec<&'static str>) -> Result<Tally, RuntimeError> {
        let of_partition = |topic: &str| OfPartition {
            tells: tells(topic),
            records: metrics.counter(metrics::RECORDS, &[topic]),
            bytes: metrics.counter(metrics::BYTES, &[topic]),
        };
        let reports = |outcome| metrics.counter(metrics::REPORTS, &[outcome]);
        let promotion = |(kind, action)| (kind, metrics.counter(metrics::PROMOTIONS, &[action]));
        let allocations =
            |policy| (policy, ["applied", "rejected"].map(|outcome| metrics.counter(metrics::ALLOCATIONS, &[outcome, policy])));
        let tally = Tally {
            partitions: layout.partitions.iter().map(|partition| of_partition(&partition.name)).collect(),
            commits: metrics.counter(metrics::COMMITS, &[]),
            took: metrics.histogram(metrics::COMMIT_SECONDS, &[]),
            folding: metrics.histogram(metrics::FOLD_SECONDS, &[]),
            lag: metrics.gauge(metrics::FOLD_LAG, &[]),
            accepted: reports("accepted"),
            late: reports("late"),
            duplicate: reports("duplicate"),
            rejected: reports("rejected"),
            rerouted: reports("rerouted"),
            promotions: [
                (Kind::PromotionProposed, "promote"),
                (Kind::DemotionProposed, "demote"),
                (Kind::Held, "hold"),
                (Kind::ReviewRequired, "review"),
            ]
            .map(promotion),
            allocations: policies.into_iter().chain([OTHER]).map(allocations).collect(),
            preemptions: metrics.counter(metrics::PREEMPTIONS, &[]),
            queue: metrics.gauge(metrics::RETRAIN_QUEUE, &[]),
            queued: queued_jobs(tables)?,
        };
        tally.queue.set(tally.queued.len() as f64);
        Ok(tally)
    }

    /// Counts a commit, whose folding began `since`.
    pub fn take(&mut self, committed: &Committed, since: Instant) {
        self.commits.increment(1);
        self.took.record(committed.took);
        self.folding.record(since.elapsed());
        self.lag.decrement(records_in(&committed.batches));
        for (at, _, count, body) in &committed.batches {
            let Some(partition) = self.partitions.get(*at) else { continue };
            partition.records.increment((*count).into());
            partition.bytes.increment(body.len() as u64);
            match partition.tells {
                Tells::Nothing => {}
                Tells::Reports => self.rerouted.increment(frames(body).flatten().filter(is_rerouted).count() as u64),
                Tells::Scores => self.accepted.increment((*count).into()),
                Tells::Late => self.late.increment((*count).into()),
                Tells::Rejected => frames(body).flatten().for_each(|frame| self.reject(&frame)),
                Tells::Promotions => frames(body).flatten().for_each(|frame| self.promote(&frame)),
                Tells::Allocations => frames(body).flatten().for_each(|frame| self.allocate(&frame)),
            }
        }
        let duplicates = committed.answers.iter().filter(|answer| Answered::decode(answer).is_some_and(|answer| is_duplicate(&answer)));
        self.duplicate.increment(duplicates.count() as u64);
    }

    /// Commands are rejected too; they are no reports.
    fn reject(&self, frame: &Frame<'_>) {
        let of_report = |rejected: Rejected<'_>| [Kind::EvalReport.name(), Kind::RawReport.name()].contains(&rejected.record_type);
        if Rejected::decode(frame.payload).is_some_and(of_report) {
            self.rejected.increment(1);
        }
    }

    fn promote(&self, frame: &Frame<'_>) {
        if let Some((_, counter)) = self.promotions.iter().find(|(kind, _)| frame.kind() == Some(*kind)) {
            counter.increment(1);
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "every other record of the topic is a step between")]
    fn allocate(&mut self, frame: &Frame<'_>) {
        let Some(kind) = frame.kind() else { return };
        match kind {
            Kind::AllocationApplied => {
                AllocationApplied::decode(frame.payload).inspect(|applied| self.outcomes(applied.policy_id)[0].increment(1));
            }
            Kind::AllocationRejected => {
                AllocationRejected::decode(frame.payload).inspect(|rejected| self.outcomes(rejected.policy_id)[1].increment(1));
            }
            Kind::AllocationPreempted => self.preemptions.increment(1),
            Kind::RetrainQueued => {
                self.queued.extend(RetrainQueued::decode(frame.payload).map(|queued| queued.job_id));
                self.queue.set(self.queued.len() as f64);
            }
            Kind::RetrainUpdated => {
                let updated = RetrainUpdated::decode(frame.payload);
                if let Some(updated) = updated.filter(|updated| updated.status != RetrainStatus::Queued) {
                    self.queued.remove(&updated.job_id);
                }
                self.queue.set(self.queued.len() as f64);
            }
            _ => {}
        }
    }

    fn outcomes(&self, policy: &str) -> &[Counter; 2] {
        let known = self.allocations.iter().find(|(known, _)| *known == policy).or(self.allocations.last());
        &known.expect("the last is always there").1
    }
}

fn tells(topic: &str) -> Tells {
    match topic {
        "eval.reports" => Tells::Reports,
        "eval.scores" => Tells::Scores,
        "eval.late" => Tells::Late,
        "eval.rejected" => Tells::Rejected,
        "eval.promotions" | "eval.aggregate-promotions" => Tells::Promotions,
        "alloc.applied" => Tells::Allocations,
        _ => Tells::Nothing,
    }
}

/// A report that a task wrote: only those that it forwards.
fn is_rerouted(frame: &Frame<'_>) -> bool {
    !frame.is_outside() && frame.kind() == Some(Kind::EvalReport)
}

fn is_duplicate(answer: &Answered<'_>) -> bool {
    answer.records.iter().any(|record| record.kind == Kind::ReportDuplicate as u32)
}

fn queued_jobs(tables: &Tables) -> Result<BTreeSet<Uuid>, RuntimeError> {
    let mut queued = BTreeSet::new();
    tables.under(&Key::of(Table::Job).end(), None, Direction::Forward, |key, row| {
        let waits = JobRow::decode(row).is_some_and(|row| row.status == RetrainStatus::Queued);
        queued.extend(last_id(key).filter(|_| waits));
        ControlFlow::Continue(())
    })?;
    Ok(queued)
}
