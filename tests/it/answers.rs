//! Commands to a live pipeline: each is answered once it is on disk, and one that comes again has no second effect.

use merit::registry::registered;
use merit_audit::Signer;
use merit_core::record::{AllocationRequested, EvalReport};
use merit_core::record::{Approval, DefinePool, Headers, Metric, Once, PoolState, ReplyTo, RequestAllocation};
use merit_core::{Datum, Fixed, Head, Key, Kind, List, Payload, Uuid};
use merit_runtime::embedded::Committed;
use merit_runtime::frame::Frame;
use merit_runtime::live::{Command, Live, now};
use merit_runtime::task::{Answered, Outcome};
use merit_runtime::{Engine, Options, key};
use merit_tests::directory::{Directory, Profile};
use merit_tests::dump::topology;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Pipeline {
    live: Live,
    committed: Receiver<Committed>,
    calls: u64,
    reports: Vec<usize>,
    requests: usize,
}

/// What an answer says: how the command was taken, and the records it led to by type, id and encoding.
type Heard = (Outcome, Vec<(Kind, Uuid, Vec<u8>)>);

impl Pipeline {
    fn start(directory: &Directory) -> Pipeline {
        let topology = topology(&directory.topology);
        let signer = Signer::new(&topology.key_name, &key::read(&directory.key()).expect("the key of the test"));
        let engine = Engine::open(&directory.data(), &topology, &registered(), signer, Options::default()).expect("opens");
        let all_of = |topic| engine.layout().all_of(topic).expect("a topic of the topology").collect::<Vec<usize>>();
        let (reports, requests) = (all_of("eval.reports"), all_of("alloc.requests")[0]);
        let (send, committed) = channel();
        let live = Live::start(engine, move |commit| send.send(commit).expect("the test listens")).expect("starts");
        Pipeline { live, committed, calls: 0, reports, requests }
    }

    /// Sends a command and waits until the commit that holds it is on disk.
    fn call(&mut self, partition: usize, key: &str, payload: Payload<'_>, once: Option<Once>) -> Heard {
        self.calls += 1;
        let mut bytes = Vec::new();
        payload.put(&mut bytes);
        let reply_to = Some(ReplyTo { copy: "here", call: self.calls });
        let headers = Some(Headers { trace: TRACE, actor: "ann", auth: "test", reply_to, once });
        let (kind, stream) = (payload.kind() as u32, Head::OUTSIDE.into());
        let mut frame = Vec::new();
        Frame { kind, hops: 0, stream, sequence: 0, time: now(), key, headers, payload: &bytes }.put(&mut frame);
        self.live.inbox().send(Command { partition, frame }).expect("taken");
        loop {
            let committed = self.committed.recv_timeout(Duration::from_secs(30)).expect("an answer within the hang limit");
            for answer in &committed.answers {
                let answered = Answered::decode(answer).expect("canonical");
                if answered.reply_to.call == self.calls {
                    let kind = |number: u32| Kind::from_number(number as u8).expect("a record type");
                    let records = answered.records.iter().map(|record| (kind(record.kind), record.id, record.payload.to_vec()));
                    return (answered.outcome, records.collect());
                }
            }
        }
    }

    fn request(&mut self, agent_id: &str, once: Option<Once>) -> Heard {
        let request = RequestAllocation {
            promotion_id: None,
            agent_id,
            division_id: None,
            pool: "gpus-us-east",
            delta: 1_000,
            reason: "needed",
            requested_by: "ops",
            confidence: None,
            approval: Approval::Manual,
        };
        self.call(self.requests, "gpus-us-east", Payload::RequestAllocation(&request), once)
    }

    fn report(&mut self, agent_id: &str, value: i64) -> Heard {
        let metrics = [Metric { name: "successRate", value: Fixed(value) }];
        let report = EvalReport {
            id: None,
            agent_id,
            division_id: None,
            product_id: None,
            metrics: List::Slice(&metrics),
            source: "test",
            timestamp: now(),
            window: None,
            tags: List::EMPTY,
        };
        let partition = self.reports[Key::new(agent_id).partition(self.reports.len() as u32) as usize];
        self.call(partition, agent_id, Payload::EvalReport(&report), None)
    }
}

fn kinds(heard: &Heard) -> Vec<Kind> {
    heard.1.iter().map(|(kind, ..)| *kind).collect()
}

fn once(key: u8, content: u8) -> Option<Once> {
    Some(Once { key: [key; 16], content: [content; 8] })
}

#[test]
fn a_live_command_is_answered_by_the_records_that_it_led_to() {
    let directory = Directory::new(Profile::Default);
    let mut pipeline = Pipeline::start(&directory);
    let pool = DefinePool { pool: "gpus-us-east", capacity: 10_000, state: PoolState::Open };
    let defined = pipeline.call(pipeline.requests, "gpus-us-east", Payload::DefinePool(&pool), None);
    assert_eq!((defined.0, kinds(&defined)), (Outcome::Ran, vec![Kind::PoolDefined]));
    assert_eq!(kinds(&pipeline.report("low", 100_000)), [Kind::ScoreUpdated]);
    assert_eq!(
        kinds(&pipeline.report("high", 950_000)),
        [Kind::ScoreUpdated, Kind::PromotionProposed, Kind::RequestAllocation],
        "a report that crosses the threshold tells of the promotion too"
    );
    assert_eq!(kinds(&pipeline.report("far", 9_000_000_000_000)), [Kind::Rejected]);
    let requested = pipeline.request("high", None);
    assert_eq!(kinds(&requested), [Kind::PolicyDecided, Kind::AllocationRequested, Kind::AllocationPended]);
    pipeline.live.stop().expect("a clean end");

    // The trace of the call is in every record down to the last topic; the actor in the audit leaf.
    for topic in ["eval.reports", "eval.scores", "eval.promotions", "alloc.requests", "alloc.decisions", "alloc.applied"] {
        let lines = directory.call(["log", "cat", topic]).ok().out;
        let traced = lines.lines().filter(|line| line.contains(TRACE)).count();
        assert!(traced > 0, "{topic}: no record carries the trace\n{lines}");
    }
    let leaves = directory.call(["log", "cat", "audit"]).ok().out;
    let by_ann: Vec<&str> = leaves.lines().filter(|line| line.contains(r#""actor":"ann""#)).collect();
    assert!(by_ann.iter().any(|line| line.contains("allocation.requested") || line.contains("AllocationRequested")), "{leaves}");
    assert!(by_ann.iter().all(|line| !line.contains("PromotionProposed")), "a report decides nothing by itself");
    directory.call(["audit", "verify"]).ok();
    assert_eq!(directory.replay().code, Some(0));
}

#[test]
fn a_command_that_comes_again_has_the_same_answer_and_one_effect_also_after_a_start() {
    let directory = Directory::new(Profile::Default);
    let mut pipeline = Pipeline::start(&directory);
    let first = pipeline.request("ann", once(1, 1));
    assert_eq!((first.0, kinds(&first).len()), (Outcome::Ran, 3));
    let allocation = AllocationRequested::decode(&first.1[1].2).expect("canonical").allocation_id;
    let same = (Outcome::Again, first.1.clone());
    assert_eq!(pipeline.request("ann", once(1, 1)), same);
    assert_eq!(pipeline.request("ann", once(1, 2)), (Outcome::OtherContent, Vec::new()));
    assert_ne!(pipeline.request("ann", once(2, 1)).1[1].2, first.1[1].2, "another key is another request");
    pipeline.live.stop().expect("a clean end");

    // Dropped without a clean stop: the tail is folded again, and with it what is known.
    let mut pipeline = Pipeline::start(&directory);
    assert_eq!(pipeline.request("ann", once(1, 1)), same);
    assert_eq!(pipeline.request("bob", once(3, 1)).0, Outcome::Ran);
    let copy = directory.copy();
    pipeline.live.stop().expect("a clean end");
    let mut pipeline = Pipeline::start(&copy);
    assert_eq!(pipeline.request("bob", once(3, 1)).0, Outcome::Again);
    assert_eq!(pipeline.request("ann", once(1, 1)), same);
    pipeline.live.stop().expect("a clean end");

    let applied = copy.call(["log", "cat", "alloc.applied"]).ok().out;
    let requested = applied.lines().filter(|line| line.contains("AllocationRequested")).count();
    assert_eq!(requested, 3, "{applied}");
    assert!(applied.contains(&allocation.to_string()));
    assert_eq!(copy.replay().code, Some(0));
}
