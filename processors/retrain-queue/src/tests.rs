//! What a job leads to, record by record.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the records that it expects")]

use crate::{Params, RetrainQueue};
use merit_core::processor::{Configuration, DynProcessor};
use merit_core::record::*;
use merit_core::table::RowMap;
use merit_core::{Digest, EventTime, Fault, Head, Key, Kind, List, Payload, Record, Settings, Sink, Uuid};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const STREAM: &str = "allocate/retrain-queue/0/aa";
/// Stream number of the allocator.
const ALLOCATOR: u16 = 7;
const JOB: CreateRetrain<'static> = CreateRetrain {
    model_family: "llama",
    dataset_refs: List::Slice(&["s3://traces/1", "s3://traces/2"]),
    priority: 5,
    division_id: Some("research"),
    requested_by: "ann",
};

#[derive(Default)]
struct Heard {
    texts: Vec<String>,
    next: u64,
}

impl Sink for Heard {
    fn emit(&mut self, key: Key<'_>, time: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        self.texts.push(format!("{} {}: {}", key.name, time.0, show(payload)));
        self.next += 1;
        Ok(self.next - 1)
    }
    fn next_sequence(&self) -> u64 {
        self.next
    }
    fn id(&self, sequence: u64) -> Uuid {
        Uuid::of_record(STREAM, sequence)
    }
    fn id_of(&self, head: &Head<'_>) -> Option<Uuid> {
        (head.stream == ALLOCATOR).then(|| Uuid::of_record("allocate/allocator-applier/0/aa", head.sequence))
    }
    fn fingerprint(&self, _: Kind) -> Digest {
        [0; 32]
    }
}

fn show(payload: Payload<'_>) -> String {
    match payload {
        Payload::RetrainQueued(it) => {
            let refs: Vec<&str> = it.dataset_refs.iter().collect();
            assert_eq!((it.job_id, it.parents.len()), (job(), 0));
            assert_eq!(it.entity_id, entity());
            let (family, refs, at) = (it.model_family, refs.join("+"), it.timestamp.0);
            format!(
                "queued {family} on {refs} p{} by {}: {} of {}, {} h at {at}",
                it.priority, it.requested_by, it.gpus, it.pool, it.gpu_hours
            )
        }
        Payload::RequestAllocation(it) => {
            assert_eq!((it.agent_id, it.promotion_id, it.approval, it.confidence), (&*entity(), None, Approval::Manual, None));
            format!("ask {} of {} for {:?} by {}: {}", it.delta, it.pool, it.division_id, it.requested_by, it.reason)
        }
        Payload::RetrainUpdated(it) => {
            let parents: Vec<Uuid> = it.parents.iter().collect();
            assert_eq!(parents, [job(), Uuid::of_record("allocate/allocator-applier/0/aa", 1)]);
            assert_eq!((it.job_id, it.allocation_id), (job(), allocation(1)));
            format!("{:?}: {}", it.status, it.detail)
        }
        Payload::CommandRefused(it) => format!("{} refused, {}: {}", it.command, it.rule, it.detail),
        other => format!("{other:?}"),
    }
}

/// The first record of the queue.
fn job() -> Uuid {
    Uuid::of_record(STREAM, 0)
}

fn entity() -> String {
    format!("retrain:{}", job())
}

fn allocation(number: u8) -> Uuid {
    Uuid([number; 16])
}

struct Desk {
    queue: RetrainQueue,
    heard: Heard,
    rows: RowMap,
}

impl Desk {
    fn new() -> Desk {
        let mut desk = Desk { queue: RetrainQueue::default(), heard: Heard::default(), rows: RowMap::default() };
        desk.reload();
        desk
    }

    fn reload(&mut self) {
        self.rows.checkpoint_and_evict(&mut self.queue);
        self.queue = RetrainQueue::default();
        let configuration = Configuration {
            settings: Settings::default(),
            partition: 0,
            partitions: 1,
            origin: String::new(),
            emitter: (String::new(), [0; 32]),
            epoch: 0,
        };
        DynProcessor::configure(&mut self.queue, &configuration).expect("configured");
        self.rows.restore(&mut self.queue).expect("readable");
    }

    /// Takes a record; the allocator's have sequence 1.
    fn take<'a>(&mut self, stream: u16, time: EventTime, payload: impl Into<Payload<'a>>) -> Vec<String> {
        let head = Head { key: Key::new(""), time, stream, sequence: 1, offset: 0, hops: 0, sent: None, headers: None };
        DynProcessor::step(&mut self.queue, &Record { head, payload: payload.into() }, &mut self.heard).expect("no fault");
        core::mem::take(&mut self.heard.texts)
    }

    fn create(&mut self, job: CreateRetrain<'_>) -> Vec<String> {
        self.take(Head::OUTSIDE, EventTime(50), &job)
    }

    fn requested(&mut self, agent_id: &str, allocation_id: Uuid) -> Vec<String> {
        let record = AllocationRequested {
            allocation_id,
            promotion_id: None,
            agent_id,
            division_id: "research",
            pool: "gpus-us-east",
            delta: 1_000,
            reason: "",
            requested_by: "ann",
            timestamp: EventTime(60),
            parents: List::EMPTY,
        };
        self.take(ALLOCATOR, EventTime(60), &record)
    }

    fn outcome(&mut self, agent_id: &str, allocation_id: Uuid, outcome: Outcome) -> Vec<String> {
        self.take(ALLOCATOR, EventTime(70), &AllocationOutcome { agent_id, promotion_id: None, allocation_id, outcome, reason: "no" })
    }

    fn rows(&mut self) -> usize {
        self.reload();
        self.rows.0.keys().filter(|(store, _, _)| store == "retrain-jobs").count()
    }
}

#[test]
fn a_job_is_queued_and_asks_for_its_gpus() {
    let expected = [
        "gpus-us-east 50: queued llama on s3://traces/1+s3://traces/2 p5 by ann: 1000 of gpus-us-east, 8000 h at 50",
        "gpus-us-east 50: ask 1000 of gpus-us-east for Some(\"research\") by ann: retrain llama: 8 GPU hours",
    ];
    assert_eq!(Desk::new().create(JOB), expected);
}

#[test]
fn a_command_without_a_time_takes_that_of_the_ledger() {
    let mut desk = Desk::new();
    desk.take(Head::OUTSIDE, EventTime::MIN, &Progress { partition: 0, watermark: EventTime(90) });
    desk.take(Head::OUTSIDE, EventTime::MIN, &Tick { time: EventTime(80) });
    desk.reload();
    let queued = &desk.take(Head::OUTSIDE, EventTime::MIN, &JOB)[0];
    assert!(queued.ends_with("at 90"), "{queued}");
}

#[test]
fn a_job_waits_until_its_allocation_ends() {
    let granted = Vec::from([String::from("gpus-us-east 60: Queued: waits for allocation 01010101-0101-0101-0101-010101010101")]);
    for (ends, expected) in [
        (Outcome::Rejected, "gpus-us-east 70: Failed: allocation rejected: no"),
        (Outcome::Released, "gpus-us-east 70: Failed: allocation released before the job ran: no"),
    ] {
        let (mut desk, entity) = (Desk::new(), entity());
        desk.create(JOB);
        assert_eq!(desk.rows(), 1);
        assert_eq!(desk.requested(&entity, allocation(1)), granted);
        desk.reload();
        assert_eq!(desk.requested(&entity, allocation(2)), [""; 0], "somebody asks for more");
        assert_eq!(desk.outcome(&entity, allocation(2), Outcome::Rejected), [""; 0], "and gets nothing");
        assert_eq!(desk.outcome(&entity, allocation(1), Outcome::Confirmed), [""; 0]);
        desk.reload();
        assert_eq!(desk.outcome(&entity, allocation(1), ends), [expected]);
        assert_eq!(desk.rows(), 0);
        assert_eq!(desk.outcome(&entity, allocation(1), ends), [""; 0], "once");
    }
}

#[test]
fn what_becomes_of_others_changes_nothing() {
    let mut desk = Desk::new();
    desk.create(JOB);
    for other in ["ann", "retrain:", "retrain:nobody", &job().to_string()] {
        assert_eq!(desk.requested(other, allocation(1)), [""; 0], "{other}");
        assert_eq!(desk.outcome(other, allocation(1), Outcome::Rejected), [""; 0], "{other}");
    }
    assert_eq!(desk.rows(), 1);
}

#[test]
fn a_command_out_of_bounds_is_refused_by_name() {
    let (name, long) = ("x".repeat(257), "x".repeat(1_025));
    let (refs, over, most) = (["a"; 65], [long.as_str()], [&long[1..]]);
    let with = |refs| CreateRetrain { dataset_refs: List::Slice(refs), ..JOB };
    for (job, rule) in [
        (CreateRetrain { model_family: "", ..JOB }, "model_family_invalid: modelFamily is empty"),
        (CreateRetrain { model_family: &name, ..JOB }, "model_family_invalid: modelFamily of 257 bytes is longer than 256"),
        (with(&refs), "dataset_refs_count: 65 datasetRefs are more than 64"),
        (with(&["a", ""]), "dataset_ref_invalid: datasetRefs is empty"),
        (with(&over), "dataset_ref_invalid: datasetRefs of 1025 bytes is longer than 1024"),
        (CreateRetrain { division_id: Some(""), ..JOB }, "text_invalid: divisionId is empty"),
        (CreateRetrain { requested_by: &name, ..JOB }, "text_invalid: requestedBy of 257 bytes is longer than 256"),
    ] {
        let mut desk = Desk::new();
        assert_eq!(desk.create(job), [format!("gpus-us-east 50: CreateRetrain refused, {rule}")]);
        assert_eq!(desk.rows(), 0);
    }
    let just = CreateRetrain { model_family: &name[1..], requested_by: &name[1..], ..with(&refs[1..]) };
    assert_eq!(Desk::new().create(just).len(), 2);
    assert_eq!(Desk::new().create(CreateRetrain { division_id: None, requested_by: "", ..with(&most) }).len(), 2);
}

#[test]
fn parameters_out_of_range_are_refused() {
    for (path, value, problem) in [
        ("retrain-queue.pool", "gpus", None),
        ("retrain-queue.pool", "", Some("retrain-queue.pool")),
        ("retrain-queue.gpus", "1000000", None),
        ("retrain-queue.gpus", "1000001", Some("retrain-queue.gpus")),
        ("retrain-queue.gpus", "0", Some("retrain-queue.gpus")),
        ("retrain-queue.gpu_hours", "0", Some("retrain-queue.gpu_hours")),
        ("retrain-queue.gpu_hours", "many", Some("retrain-queue.gpu_hours")),
    ] {
        let settings: Settings = [(path.into(), value.into())].into_iter().collect();
        let problems = Params::read(&settings).1;
        assert_eq!(problems.first().map(|found| found.path.as_str()), problem, "{value}");
    }
}
