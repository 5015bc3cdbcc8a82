use super::reading::Broken;
use super::verify::{Verified, verify};
use super::{failure, failure_in, keys};
use crate::decisions::Record;
use crate::{registry, session};
use merit_audit::Signer;
use merit_core::record::{EvalReport, Metric, Tick};
use merit_core::{Datum, EventTime, Fixed, Key, Kind, List, Payload};
use merit_runtime::frame::Frame;
use merit_runtime::layout::{Layout, TaskLayout};
use merit_runtime::processed::{Processed, Span};
use merit_runtime::store::{Commit, Mirrored, Store, Sync};
use merit_runtime::{Engine, Input, Options};
use std::path::Path;

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;

/// All records of a log, by partition.
pub(crate) type Records = Vec<Vec<Record>>;

fn signer(secret: u8) -> Signer {
    Signer::new("merit.example/emitter", &[secret; 32])
}

pub(crate) fn layout() -> Layout {
    Layout::new(&session::topology(None).expect("valid"), &registry::registered())
}

fn report(engine: &mut Engine, agent: &str, time: i64, value: i64) {
    let (key, time) = (Key::new(agent), EventTime(time));
    let metrics = [Metric { name: "quality", value: Fixed(value) }];
    let report = EvalReport {
        id: None,
        agent_id: agent,
        division_id: Some("chat"),
        product_id: None,
        metrics: List::Slice(&metrics),
        source: "suite",
        timestamp: time,
        window: None,
        tags: List::EMPTY,
    };
    let partition = engine.report_partition(&key);
    engine.take(&Input { partition, key, time, payload: Payload::EvalReport(&report), headers: None }).expect("taken");
}

/// Four days of eight agents that rise and fall, and one promotion behind the last seal.
pub(crate) fn good() -> Records {
    let directory = tempfile::tempdir().expect("a directory");
    let topology = session::topology(None).expect("valid");
    let mut engine = Engine::open(directory.path(), &topology, &registry::registered(), signer(7), Options::default()).expect("opened");
    for hour in 0..96 {
        let value = if hour / 30 % 2 == 0 { 950_000 } else { 300_000 };
        (0..8).for_each(|agent| report(&mut engine, &format!("agent-{agent}"), hour * HOUR, value));
    }
    let inputs = engine.layout().all_of("eval.reports").expect("a topic");
    for partition in inputs {
        let time = EventTime(6 * DAY);
        engine
            .take(&Input { partition, key: Key::new("clock"), time, payload: Payload::Tick(&Tick { time }), headers: None })
            .expect("taken");
    }
    report(&mut engine, "late-bloomer", 6 * DAY, 950_000);
    let store = engine.close(Vec::new()).expect("closed");
    read(&store)
}

fn read(store: &Store) -> Records {
    let layout = layout();
    let of = |at: usize| {
        let mut records = store.records(&layout.partitions[at]);
        let mut all = Vec::new();
        while let Some((offset, frame)) = records.next().expect("readable") {
            all.push(Record::of(&layout, at, offset, &frame).expect("known"));
        }
        all
    };
    (0..layout.partitions.len()).map(of).collect()
}

/// Writes records into a new directory, one batch a partition.
pub(crate) fn write(records: &Records, path: &Path) -> Store {
    let batch = |(at, records): (usize, &Vec<Record>)| {
        let mut body = Vec::new();
        for Record { kind, stream, sequence, time, key, payload, .. } in records {
            Frame { kind: *kind as u32, hops: 0, stream: *stream, sequence: *sequence, time: *time, key, headers: None, payload }
                .put(&mut body);
        }
        (at, 0, records.len() as u32, body)
    };
    let batches = records.iter().enumerate().filter(|(_, records)| !records.is_empty()).map(batch).collect();
    let store = Store::open(path, Sync::System).expect("opened");
    store.commit(&mut Commit { batches, ..Commit::default() }, &layout().partitions).expect("written");
    store
}

/// The rule that a log breaks, else what it holds.
fn verified(records: &Records, keys: Vec<merit_audit::EmitterKey>) -> Result<Verified, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let store = write(records, directory.path());
    verify(&store, &layout(), keys, |_| {}).map_err(|broken| match broken {
        Broken::Fault(fault) => fault.rule.name.to_string(),
        Broken::Store(error) => {
            assert_eq!(failure(error.into()).code.exit, 3);
            "corrupt".into()
        }
    })
}

#[test]
fn a_log_as_it_was_written_has_no_fault_and_its_seals_cover_all_but_the_end() {
    let records = good();
    let verified = verified(&records, Vec::new()).expect("no fault");
    let count = |topic: &str| layout().all_of(topic).expect("a topic").map(|at| records[at].len() as u64).sum::<u64>();
    assert_eq!(verified.leaves.values().sum::<u64>(), count("audit"));
    for (prefix, input) in [("evaluate/", "eval.reports"), ("allocate/", "alloc.requests"), ("seal/", "audit.intake")] {
        let tasks = || verified.tasks.iter().filter(|task| task.task.starts_with(prefix));
        assert_eq!(tasks().map(|task| task.inputs + task.inputs_open).sum::<u64>(), count(input), "{prefix}");
        assert!(tasks().all(|task| task.seals > 0), "{prefix}");
    }
    assert!(verified.leaves.contains_key("PromotionProposed"));
    assert!(verified.leaves.contains_key("DemotionProposed"));
    assert!(verified.parents > 0);
}

/// The record at a share of a partition, in percent.
fn at(records: &mut [Record], percent: usize) -> &mut Record {
    let place = (records.len() - 1) * percent / 100;
    &mut records[place]
}

fn flip(record: &mut Record) {
    let middle = record.payload.len() / 2;
    record.payload[middle] ^= 1;
}

type Change = fn(&mut Vec<Record>);

/// Each change is made to the partition of the topic that has most records.
#[test]
fn every_change_is_found() {
    let good = good();
    let rows: [(&str, &str, &str, Change); 22] = [
        ("a report changed", "eval.reports", "seal_inputs", |records| flip(at(records, 30))),
        ("a report removed", "eval.reports", "seal_inputs", |records| drop(records.remove(9))),
        ("a report added", "eval.reports", "seal_inputs", |records| records.insert(9, records[9].clone())),
        ("two reports in the other order", "eval.reports", "seal_inputs", |records| records.swap(9, 10)),
        ("the end cut off inside a seal", "eval.reports", "seal_inputs", |records| records.truncate(20)),
        ("a configuration changed", "eval.reports", "payload", |records| flip(&mut records[0])),
        ("a configuration added", "eval.reports", "leaf_missing", |records| records.push(records[0].clone())),
        ("a score changed", "eval.scores", "seal_outputs", |records| flip(at(records, 30))),
        ("a score removed", "eval.scores", "seal_outputs", |records| drop(records.remove(9))),
        ("a score twice", "eval.scores", "corrupt", |records| records.insert(9, records[9].clone())),
        ("a score of another type", "eval.scores", "seal_outputs", |records| at(records, 30).kind = Kind::Tick),
        ("a score of no stream", "eval.scores", "corrupt", |records| at(records, 30).stream = 999),
        ("a decision changed", "eval.promotions", "payload", |records| flip(&mut records[0])),
        ("a decision under another key", "eval.promotions", "record", |records| records[0].key.push('x')),
        ("a decision at another time", "eval.promotions", "record", |records| records[0].time.0 += 1),
        ("a decision of another type", "eval.promotions", "record", |records| records[0].kind = Kind::Held),
        ("a decision removed", "eval.promotions", "record_missing", |records| drop(records.remove(0))),
        ("a decision added", "eval.promotions", "leaf_missing", |records| {
            let last = records.last().expect("one").clone();
            records.push(Record { sequence: last.sequence + 1_000, ..last });
        }),
        ("a verdict changed", "alloc.decisions", "payload", |records| flip(&mut records[0])),
        ("a leaf on its way changed", "audit.intake", "intake", |records| flip(at(records, 50))),
        ("a leaf on its way removed", "audit.intake", "intake", |records| drop(records.remove(20))),
        ("a leaf for another chain", "audit", "label", |records| records[0].key.push('x')),
    ];
    for (name, topic, rule, change) in rows {
        let mut records = good.clone();
        let at = layout().all_of(topic).expect("a topic").max_by_key(|at| good[*at].len()).expect("a partition");
        change(&mut records[at]);
        assert_eq!(verified(&records, Vec::new()).map(|verified| verified.chains), Err(rule.to_string()), "{name}");
    }
}

#[test]
fn a_score_behind_the_last_seal_is_missed_by_the_promotion_that_names_it() {
    let mut records = good();
    for at in layout().all_of("eval.scores").expect("a topic") {
        records[at].retain(|record| record.key != "late-bloomer");
    }
    assert_eq!(verified(&records, Vec::new()).map(|verified| verified.parents), Err("parent".into()));
}

#[test]
fn leaves_cut_off_the_end_are_missed() {
    let mut records = good();
    let at = layout().find("audit", 0).expect("a topic");
    let last = records[at].pop().expect("one");
    assert_eq!(last.kind, Kind::SealedLeaf);
    assert_eq!(verified(&records, Vec::new()).map(|verified| verified.chains), Err("leaf_missing".into()));
}

/// A copy of a log whose tasks were at work, and what it shows. The sealer had processed `sealed` of its inputs before it, and the
/// tasks went on by `more` meanwhile, if that is known.
fn copy(records: &Records, sealed: u64, more: Option<u64>) -> (tempfile::TempDir, Store, Result<Verified, Broken>) {
    let (directory, layout) = (tempfile::tempdir().expect("a directory"), layout());
    let store = Store::open(directory.path(), Sync::System).expect("opened");
    store.mirror(&Mirrored { cluster: "c".into(), application: "a".into() }, &layout).expect("an empty log");
    drop(store);
    let store = write(records, directory.path());
    let span = |task: &TaskLayout| {
        let end = records[task.input].len() as u64;
        let from = if layout.find("audit.intake", 0) == Some(task.input) { sealed } else { end };
        Span { from: Some(from), to: more.map(|more| end + more) }
    };
    let meta = vec![Processed(layout.tasks.iter().map(span).collect()).row(&layout)];
    store.commit(&mut Commit { meta, ..Commit::default() }, &layout.partitions).expect("written");
    let verified = verify(&store, &layout, Vec::new(), |_| {});
    (directory, store, verified)
}

/// How many leaves are open at its end, else the rule that it breaks.
fn copied(records: &Records, sealed: u64) -> Result<[u64; 3], String> {
    let (_directory, _, verified) = copy(records, sealed, Some(1));
    verified.map(|Verified { open, .. }| [open.unsealed, open.unsigned, open.lacking]).map_err(|broken| match broken {
        Broken::Fault(fault) => fault.rule.name.to_string(),
        Broken::Store(error) => error.to_string(),
    })
}

#[test]
fn what_a_copy_lacks_is_a_fault_only_where_it_was_brought_to_an_end() {
    let mut records = good();
    let sealed = cut(&mut records, 6);
    for (more, code) in [(Some(1), "audit_fault"), (None, "copy_unfinished")] {
        let (_directory, store, verified) = copy(&records, sealed + 1, more);
        let broken = verified.map(|verified| verified.chains).expect_err("a leaf that was sealed is missing");
        assert_eq!(failure_in(&store, &layout(), broken).code.name, code);
    }
}

/// Cuts sealed leaves off the end, those of the sealer itself among them; gives how many leaves it then had sealed.
fn cut(records: &mut Records, sealed: usize) -> u64 {
    let layout = layout();
    let [audit, intake] = ["audit", "audit.intake"].map(|topic| layout.find(topic, 0).expect("a topic"));
    let end = records[audit].len() - sealed;
    records[audit].truncate(end);
    let left = records[audit].iter().filter(|leaf| !leaf.key.starts_with("seal/")).count();
    let leaves = records[intake].iter().enumerate().filter(|(_, record)| record.kind == Kind::AuditLeaf);
    leaves.map(|(offset, _)| offset as u64).nth(left).expect("one that is not sealed")
}

#[test]
fn a_copy_of_a_log_that_grows_is_verified_up_to_what_the_sealer_had_read() {
    let mut records = good();
    let sealed = cut(&mut records, 6);
    assert_eq!(copied(&records, sealed), Ok([6, 0, 0]));
    // The sealer had read one more, so its leaf was there.
    assert_eq!(copied(&records, sealed + 1), Err("leaf_missing".into()));
    assert_eq!(verified(&records, Vec::new()).map(|verified| verified.chains), Err("leaf_missing".into()));

    let intake = layout().find("audit.intake", 0).expect("a topic");
    let rows: [(&str, &str, Change); 3] = [
        ("its last leaf is behind the copy", "leaf_missing", |intake| drop(intake.pop())),
        ("a leaf that waits is changed", "shape", |intake| flip(intake.last_mut().expect("one"))),
        ("a leaf that waits is gone", "gap", |intake| drop(intake.remove(intake.len() - 2))),
    ];
    for (name, rule, change) in rows {
        let mut records = records.clone();
        change(&mut records[intake]);
        assert_eq!(copied(&records, sealed), Err(rule.to_string()), "{name}");
    }
}

#[test]
fn a_copy_takes_proofs_first_and_what_waits_for_the_sealer_last() {
    let layout = layout();
    let [others, leaves] = layout.in_order_of_proof();
    assert_eq!(leaves, [layout.find("audit.intake", 0).expect("a topic")]);
    assert_eq!(others.first().copied(), layout.find("audit", 0));
    assert_eq!(others.len() + leaves.len(), layout.partitions.len());
}

#[test]
fn a_log_that_is_no_copy_waits_for_nothing_whatever_its_rows_say() {
    let mut records = good();
    let sealed = cut(&mut records, 6);
    let (directory, layout) = (tempfile::tempdir().expect("a directory"), layout());
    let store = write(&records, directory.path());
    let span = Span { from: Some(sealed.min(1)), to: None };
    let meta = vec![Processed(vec![span; layout.tasks.len()]).row(&layout)];
    store.commit(&mut Commit { meta, ..Commit::default() }, &layout.partitions).expect("written");
    let broken = verify(&store, &layout, Vec::new(), |_| {}).map(|verified| verified.chains);
    assert!(matches!(broken, Err(Broken::Fault(fault)) if fault.rule.name == "leaf_missing"));
}

#[test]
fn a_key_that_is_given_is_believed_before_the_one_in_the_log() {
    let records = good();
    let key = |secret| keys::read(&[keys::write("merit.example/emitter", &signer(secret).public())]).expect("a key");
    assert!(verified(&records, key(7)).is_ok_and(|verified| !verified.key_from_log));
    assert_eq!(verified(&records, key(8)).map(|verified| verified.chains), Err("unknown_key".into()));
}

#[test]
fn a_log_without_any_record_is_nobodys() {
    let records = layout().partitions.iter().map(|_| Vec::new()).collect();
    assert_eq!(verified(&records, Vec::new()).map(|verified| verified.chains), Err("origin".into()));
}
