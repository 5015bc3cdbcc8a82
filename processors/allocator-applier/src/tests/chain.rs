//! Drives gate, allocator and cluster as the runtime does: depth first, what is fed back right behind its cause.

use crate::AllocatorApplier;
use merit_core::processor::{Configuration, DynProcessor};
use merit_core::record::*;
use merit_core::settings::Settings;
use merit_core::table::RowMap;
use merit_core::{Digest, EventTime, Fault, Fixed, Head, Key, Kind, List, Payload, Record, Sink, Uuid};
use policy_gate::PolicyGate;
use simulated_cluster::SimulatedCluster;
use std::boxed::Box;
use std::collections::VecDeque;
use std::string::String;
use std::vec::Vec;

/// Stream number of the promoter, which is not in the chain.
const PROMOTER: u16 = 9;

/// A record with everything that it borrows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owned {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub key: String,
    time: EventTime,
    stream: u16,
    sequence: u64,
    hops: u8,
}

impl Owned {
    pub(super) fn read<R>(&self, then: impl FnOnce(Payload<'_>) -> R) -> R {
        Payload::decode(self.kind, &self.bytes, then).expect("canonical")
    }
}

/// What becomes of the cluster's answers on their way back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Straight,
    /// Every answer comes twice, and the first of all comes again.
    Repeated,
    /// An observation comes before its acknowledgement.
    Swapped,
}

pub(super) struct Chain {
    processors: Vec<Box<dyn DynProcessor>>,
    settings: Vec<(String, String)>,
    rows: [RowMap; 3],
    shared: Shared,
    way: Way,
    /// Ids of the allocations in the order of their requests.
    pub allocations: Vec<Uuid>,
    /// Ids of the preemptions.
    preemptions: Vec<Uuid>,
}

#[derive(Default)]
struct Shared {
    next: [u64; 3],
    emitted: Vec<Owned>,
    feedback: VecDeque<Owned>,
    first_answer: Option<Owned>,
    offset: u64,
}

struct Hop<'c> {
    at: usize,
    later: &'c mut [Box<dyn DynProcessor>],
    shared: &'c mut Shared,
    hops: u8,
}

const STREAMS: [&str; 3] = ["allocate/policy-gate/0/aa", "allocate/allocator-applier/0/aa", "allocate/simulated-cluster/0/aa"];

impl Sink for Hop<'_> {
    fn emit(&mut self, key: Key<'_>, time: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let sequence = self.shared.next[self.at];
        self.shared.next[self.at] += 1;
        let (kind, mut bytes) = (payload.kind(), Vec::new());
        payload.put(&mut bytes);
        let owned = Owned { kind, bytes, key: key.name.into(), time, stream: self.at as u16, sequence, hops: self.hops };
        self.shared.emitted.push(owned.clone());
        if matches!(kind, Kind::Acked | Kind::Observed | Kind::Recheck) {
            self.shared.feedback.push_back(Owned { hops: self.hops + 1, ..owned.clone() });
        }
        deliver(self.later, self.at + 1, self.shared, &owned)?;
        Ok(sequence)
    }
    fn next_sequence(&self) -> u64 {
        self.shared.next[self.at]
    }
    fn id(&self, sequence: u64) -> Uuid {
        Uuid::of_record(STREAMS[self.at], sequence)
    }
    fn id_of(&self, head: &Head<'_>) -> Option<Uuid> {
        STREAMS.get(usize::from(head.stream)).map(|stream| Uuid::of_record(stream, head.sequence))
    }
    fn fingerprint(&self, _: Kind) -> Digest {
        [0; 32]
    }
}

/// Gives a record to every processor of `processors`, of which the first is number `first`.
fn deliver(processors: &mut [Box<dyn DynProcessor>], first: usize, shared: &mut Shared, owned: &Owned) -> Result<(), Fault> {
    for place in 0..processors.len() {
        let (processor, later) = processors[place..].split_first_mut().expect("in range");
        if processor.reads().contains(owned.kind) {
            let Owned { time, stream, sequence, hops, .. } = *owned;
            let head = Head { key: Key::new(&owned.key), time, stream, sequence, offset: shared.offset, hops, sent: None, headers: None };
            owned.read(|payload| processor.step(&Record { head, payload }, &mut Hop { at: first + place, later, shared, hops }))?;
        }
    }
    Ok(())
}

impl Chain {
    /// A chain with parameters like `"simulated-cluster.observe_after=5s"`.
    pub(super) fn new(settings: &[&str], way: Way) -> Chain {
        let settings = settings.iter().filter_map(|entry| entry.split_once('=')).map(|(path, value)| (path.into(), value.into()));
        let mut chain = Chain {
            processors: Vec::new(),
            settings: settings.collect(),
            rows: Default::default(),
            shared: Shared::default(),
            way,
            allocations: Vec::new(),
            preemptions: Vec::new(),
        };
        chain.reload();
        chain
    }

    /// A chain whose cluster is the test.
    pub(super) fn without_cluster() -> Chain {
        let mut chain = Chain::new(&[], Way::Straight);
        chain.processors.pop();
        chain
    }

    /// Writes a checkpoint, forgets everything, and reads it back.
    pub(super) fn reload(&mut self) {
        for (rows, processor) in self.rows.iter_mut().zip(&mut self.processors) {
            rows.checkpoint_and_evict(&mut **processor);
        }
        self.processors =
            [Box::<PolicyGate>::default() as Box<dyn DynProcessor>, Box::<AllocatorApplier>::default(), Box::<SimulatedCluster>::default()]
                .into();
        let settings: Settings = self.settings.iter().cloned().collect();
        let emitter = ("key".into(), [0; 32]);
        let configuration =
            Configuration { settings, partition: 0, partitions: 4, origin: "merit.example/audit".into(), emitter, epoch: 0 };
        for (rows, processor) in self.rows.iter().zip(&mut self.processors) {
            assert_eq!(processor.check(&configuration.settings), []);
            processor.configure(&configuration).expect("configured");
            rows.restore(&mut **processor).expect("readable");
        }
    }

    /// Takes one input and everything that is fed back because of it; returns what was emitted.
    pub(super) fn take<'a>(&mut self, stream: u16, time: EventTime, key: &str, payload: impl Into<Payload<'a>>) -> Vec<Owned> {
        let payload = payload.into();
        let mut bytes = Vec::new();
        payload.put(&mut bytes);
        let input = Owned { kind: payload.kind(), bytes, key: key.into(), time, stream, sequence: 0, hops: 0 };
        let mut next = Some(input);
        while let Some(input) = next {
            self.shared.offset += 1;
            let before = self.shared.feedback.len();
            deliver(&mut self.processors, 0, &mut self.shared, &input).expect("no fault");
            self.disturb(before);
            next = self.shared.feedback.pop_front();
        }
        let emitted = std::mem::take(&mut self.shared.emitted);
        for record in &emitted {
            record.read(|payload| self.note(payload));
        }
        emitted
    }

    fn disturb(&mut self, from: usize) {
        let fresh: Vec<Owned> = self.shared.feedback.drain(from..).collect();
        let answer = |record: &&Owned| matches!(record.kind, Kind::Acked | Kind::Observed);
        match self.way {
            Way::Straight => self.shared.feedback.extend(fresh),
            Way::Repeated => {
                for record in fresh {
                    let copies = if answer(&&record) { 2 } else { 1 };
                    self.shared.first_answer.get_or_insert_with(|| record.clone());
                    self.shared.feedback.extend(std::iter::repeat_n(record, copies));
                    self.shared.feedback.extend(self.shared.first_answer.iter().filter(answer).cloned());
                }
            }
            Way::Swapped => {
                let mut fresh = VecDeque::from(fresh);
                while let Some(record) = fresh.pop_front() {
                    if record.kind == Kind::Acked && fresh.front().is_some_and(|next| next.kind == Kind::Observed) {
                        self.shared.feedback.extend(fresh.pop_front());
                    }
                    self.shared.feedback.push_back(record);
                }
            }
        }
    }

    fn note(&mut self, payload: Payload<'_>) {
        match payload {
            Payload::AllocationRequested(requested) => self.allocations.push(requested.allocation_id),
            Payload::AllocationPreempted(preempted) => self.preemptions.push(preempted.allocation_id),
            _ => {}
        }
    }

    /// Carries out a command of a scenario; GPUs are whole, allocations are numbered in the order of their requests, preemptions
    /// from 100 on.
    ///
    /// ```text
    /// pool P 10 [hold]   quota P D 4      deny P...        most 2           home A D         tick 50
    /// ask A P 1 manual|automatic [0.5]    approve 0 WHO    reject 0 POLICY  release 0        drop 0 (the promoter's Release)
    /// preempt A P 1
    /// acked 0 FENCE      observed A P 1 FENCE              refused 0 A P FENCE
    /// ```
    pub(super) fn command(&mut self, text: &str) -> Vec<Owned> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (time, words) = match words[0].strip_prefix('@') {
            Some(time) => (EventTime(number(time) as i64), &words[1..]),
            None => (EventTime::MIN, &words[..]),
        };
        let gpus = |text: &str| number(text) * 1_000;
        let id = |chain: &Chain, text: &str| {
            let number = number(text) as usize;
            let known = number.checked_sub(100).map_or(chain.allocations.get(number), |number| chain.preemptions.get(number));
            known.copied().unwrap_or(Uuid([7; 16]))
        };
        match *words {
            ["pool", pool, capacity, ref rest @ ..] => {
                let state = if rest.is_empty() { PoolState::Open } else { PoolState::Hold };
                self.take(Head::OUTSIDE, time, pool, &DefinePool { pool, capacity: gpus(capacity), state })
            }
            ["quota", pool, division_id, nominal] => {
                self.take(Head::OUTSIDE, time, pool, &SetQuota { pool, division_id, nominal: gpus(nominal) })
            }
            ["deny", ref pools @ ..] => {
                self.take(Head::OUTSIDE, time, "", &PolicyBundle { deny_pools: List::Slice(pools), max_delta: None })
            }
            ["most", delta] => self.take(Head::OUTSIDE, time, "", &PolicyBundle { deny_pools: List::EMPTY, max_delta: Some(gpus(delta)) }),
            ["home", agent_id, division_id] => {
                self.take(PROMOTER, time, agent_id, &EntityAssigned { agent_id, division_id, product_id: None })
            }
            ["tick", to] => self.take(Head::OUTSIDE, EventTime::MIN, "", &Tick { time: EventTime(number(to) as i64) }),
            ["ask", agent_id, pool, delta, approval, ref rest @ ..] => {
                let (approval, stream) =
                    if approval == "manual" { (Approval::Manual, Head::OUTSIDE) } else { (Approval::Automatic, PROMOTER) };
                let (delta, promotion_id) = (gpus(delta), Some(promotion(self.allocations.len())));
                let confidence = rest.first().and_then(|text| Fixed::parse(text));
                let (reason, requested_by, division_id) = ("earned", "eval-engine", None);
                let request =
                    RequestAllocation { promotion_id, agent_id, division_id, pool, delta, reason, requested_by, confidence, approval };
                self.take(stream, time, pool, &request)
            }
            ["approve", which, approved_by] => {
                let allocation_id = id(self, which);
                self.take(Head::OUTSIDE, time, "gpus", &Approve { allocation_id, approved_by })
            }
            ["reject", which, policy] => {
                let allocation_id = id(self, which);
                let (rationale, policy_id, rejected_by) = ("no", Some(policy), Some("ann"));
                self.take(Head::OUTSIDE, time, "gpus", &Reject { allocation_id, rationale, policy_id, rejected_by })
            }
            ["release", which, agent_id] => {
                let allocation_id = Some(id(self, which));
                let (promotion_id, pool, reason, requested_by) = (None, "gpus", "done", "ann");
                self.take(Head::OUTSIDE, time, pool, &Release { agent_id, promotion_id, allocation_id, pool, reason, requested_by })
            }
            ["drop", which, agent_id] => {
                let promotion_id = Some(promotion(number(which) as usize));
                let (allocation_id, pool, reason, requested_by) = (None, "gpus", "demoted", "eval-engine");
                self.take(PROMOTER, time, pool, &Release { agent_id, promotion_id, allocation_id, pool, reason, requested_by })
            }
            ["preempt", agent_id, pool, delta] => {
                let (delta, reason, requested_by) = (gpus(delta), "heat", "ops");
                self.take(Head::OUTSIDE, time, pool, &Preempt { agent_id, pool, delta, reason, requested_by })
            }
            ["acked", which, agent_id, pool, fence] => {
                let (allocation_id, fence) = (id(self, which), number(fence));
                self.take(Head::OUTSIDE, time, pool, &Acked { allocation_id, agent_id, pool, fence, external_ref: "x" })
            }
            ["observed", agent_id, pool, quantity, fence] => {
                let (quantity, fence) = (gpus(quantity), number(fence));
                self.take(Head::OUTSIDE, time, pool, &Observed { agent_id, pool, fence, quantity })
            }
            ["refused", which, agent_id, pool, fence] => {
                let (allocation_id, fence) = (id(self, which), number(fence));
                self.take(Head::OUTSIDE, time, pool, &Refused { allocation_id, agent_id, pool, fence, reason: "no node" })
            }
            _ => panic!("no command: {text}"),
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// The promotion behind a request.
fn promotion(number: usize) -> Uuid {
    Uuid(std::array::from_fn(|at| (number >> (at % 8 * 8)) as u8))
}
