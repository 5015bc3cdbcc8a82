//! What producers and people send: reports of a few agents whose quality changes, and everything that may come beside them.

use super::broker::{Broker, Message};
use super::chance::Fault;
use crate::frame::Frame;
use crate::layout::Layout;
use merit_core::record::{
    Action, Approval, AssignEntity, CreateRetrain, DefinePool, EvalReport, Headers, Metric, Once, PoolState, Preempt, ProposePromotion,
    RawReport, ReplyTo, RequestAllocation, SetQuota, Tick,
};
use merit_core::{Datum, EventTime, Fixed, Head, Key, List, Payload};
use std::rc::Rc;

/// 2025-01-17T00:00:00Z, where the virtual clock starts.
const START: i64 = 1_737_072_000_000;
const AGENTS: u64 = 6;
const POOL: &str = "gpus";
/// What the words of a command begin with that takes effect once.
pub(crate) const ONCE: &str = "once-";

/// Everything that is sent in one run.
pub(crate) struct Inputs {
    /// Records that are still to be sent.
    pub(crate) left: u64,
    /// How far the producer's clock is off, in milliseconds.
    pub(crate) clock: i64,
    /// Reports so far, to be sent again.
    reports: Vec<(usize, Rc<Message>)>,
    /// Commands under a key so far, to be sent again.
    commands: Vec<(usize, Rc<Message>)>,
    /// Partition, offset and record of each that the broker acknowledged.
    pub(crate) acknowledged: Vec<(usize, u64, Rc<Message>)>,
}

impl Inputs {
    pub(crate) fn new(left: u64) -> Inputs {
        Inputs { left, clock: 0, reports: Vec::new(), commands: Vec::new(), acknowledged: Vec::new() }
    }

    /// Sends a record of any kind.
    pub(crate) fn send(&mut self, broker: &mut Broker, layout: &Layout) {
        self.left = self.left.saturating_sub(1);
        let now = EventTime(START + broker.now as i64);
        match broker.chance.below(100) {
            0..70 => self.report(broker, layout, now),
            70..72 => self.once(broker, layout, now),
            72..74 => self.once_again(broker),
            74..77 => self.poison(broker, layout, now),
            77..81 => self.assign(broker, layout, now),
            81..83 => self.propose(broker, layout, now),
            83..86 => self.size_pool(broker, layout, now),
            86..90 => self.size_quota(broker, layout, now),
            90..92 => self.preempt(broker, layout, now),
            92..94 => self.retrain(broker, layout, now),
            _ => self.tick(broker, layout),
        }
    }

    /// Tells every partition the time.
    pub(crate) fn tick(&mut self, broker: &mut Broker, layout: &Layout) {
        let time = EventTime(START + broker.now as i64);
        for topic in ["eval.reports", "alloc.requests"] {
            for partition in layout.all_of(topic).into_iter().flatten() {
                self.append(broker, partition, "tick", time, Payload::Tick(&Tick { time }));
            }
        }
    }

    /// Puts a configuration in force: the last sub-topology first, since what an epoch decides upstream reaches tasks behind it.
    pub(crate) fn configure(&mut self, broker: &mut Broker, layout: &Layout, epoch: &[u8]) {
        for task in layout.tasks.iter().rev() {
            let time = EventTime(START + broker.now as i64);
            let frame = outside(merit_core::Kind::ConfigEpoch as u32, "config", time, epoch);
            self.append_frame(broker, task.input, &frame);
        }
    }

    fn report(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let chance = &mut broker.chance;
        let known = self.reports.len();
        if known > 0 && chance.breaks(Fault::SentTwice, 12) {
            let (partition, report) = self.reports[known - 1 - chance.place(known.min(40))].clone();
            self.acknowledged.push((partition, broker.append(partition, &report), report));
            return;
        }
        let agent = chance.below(AGENTS);
        let (name, division) = (format!("agent-{agent}"), format!("division-{}", agent % 2));
        let good = !(broker.now / 1_200_000 + agent).is_multiple_of(3);
        let mut value = |middle: i64| Metric { name: "success", value: Fixed(middle + chance.below(100_000) as i64) };
        let success = value(if good { 880_000 } else { 500_000 });
        let speed = Metric { name: "speed", ..value(820_000) };
        let received = EventTime(now.0 + self.clock);
        let age = match chance.below(20) {
            0 => chance.below(3_600_000),
            1..4 => chance.below(60_000),
            _ => 0,
        };
        // One in 40 takes the id of another report with other content.
        let id = if chance.one_in(40) { known.saturating_sub(1) } else { known };
        let id = format!("report-{id}");
        let metrics = [success, speed];
        let report = EvalReport {
            id: (!chance.one_in(10)).then_some(&id),
            agent_id: &name,
            division_id: chance.one_in(3).then_some(&division),
            product_id: chance.one_in(3).then_some("product"),
            metrics: List::Slice(if chance.one_in(4) { &metrics[..1] } else { &metrics }),
            source: "simulation",
            timestamp: EventTime(received.0 - age as i64),
            window: None,
            tags: List::EMPTY,
        };
        let partitions = layout.all_of("eval.reports").unwrap_or_default();
        let own = Key::new(&name).partition(layout.report_partitions) as usize;
        // Another client hashes otherwise.
        let partition = partitions.start + if chance.one_in(25) { chance.place(partitions.len()) } else { own };
        self.append(broker, partition, &name, received, Payload::EvalReport(&report));
        self.reports.extend(self.acknowledged.last().map(|(partition, _, report)| (*partition, Rc::clone(report))));
    }

    fn poison(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let bytes = broker.chance.below(u64::MAX).to_be_bytes();
        let raw = RawReport { source: "poison", rule: "json_invalid", detail: "no JSON", bytes: &bytes };
        self.append_to_reports(broker, layout, "poison", now, Payload::RawReport(&raw));
    }

    fn assign(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let agent = format!("agent-{}", broker.chance.below(AGENTS));
        let division = format!("division-{}", broker.chance.below(3));
        let assign = AssignEntity { agent_id: &agent, division_id: &division, product_id: None };
        self.append_to_reports(broker, layout, &agent, now, Payload::AssignEntity(&assign));
    }

    fn propose(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let agent = format!("agent-{}", broker.chance.below(AGENTS));
        let action = if broker.chance.one_in(2) { Action::Promote } else { Action::Demote };
        let (pool, delta) = (Some(POOL), Some(1_000));
        let proposal =
            ProposePromotion { agent_id: &agent, action, rationale: "by hand", confidence: None, requested_by: "person", pool, delta };
        self.append_to_reports(broker, layout, &agent, now, Payload::ProposePromotion(&proposal));
    }

    /// A command under a key, whose words name the key: whatever it leads to can be counted.
    fn once(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let number = self.commands.len();
        let (words, agent) = (once_words(number), format!("agent-{}", broker.chance.below(AGENTS)));
        let mut key = [0; 16];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let once = Once { key, content: [1; 8] };
        if broker.chance.one_in(2) {
            let (action, pool, delta) = (Action::Promote, Some(POOL), Some(1_000));
            let proposal =
                ProposePromotion { agent_id: &agent, action, rationale: &words, confidence: None, requested_by: "person", pool, delta };
            let first = layout.all_of("eval.reports").unwrap_or_default().start;
            let partition = first + Key::new(&agent).partition(layout.report_partitions) as usize;
            self.append_once(broker, partition, &agent, now, &Payload::ProposePromotion(&proposal), once);
        } else if let Some(partition) = layout.find("alloc.requests", 0) {
            let request = RequestAllocation {
                promotion_id: None,
                agent_id: &agent,
                division_id: None,
                pool: POOL,
                delta: 1_000,
                reason: &words,
                requested_by: "person",
                confidence: None,
                approval: Approval::Automatic,
            };
            self.append_once(broker, partition, POOL, now, &Payload::RequestAllocation(&request), once);
        }
    }

    fn append_once(&mut self, broker: &mut Broker, partition: usize, key: &str, time: EventTime, payload: &Payload<'_>, once: Once) {
        let mut bytes = Vec::new();
        payload.put(&mut bytes);
        let reply_to = Some(ReplyTo { copy: "copy", call: self.commands.len() as u64 });
        let headers = Headers { trace: "", actor: "person", auth: "simulation", reply_to, once: Some(once) };
        self.append_frame(broker, partition, &Frame { headers: Some(headers), ..outside(payload.kind() as u32, key, time, &bytes) });
        self.commands.extend(self.acknowledged.last().map(|(partition, _, command)| (*partition, Rc::clone(command))));
    }

    /// A command comes again, or another one under its key.
    fn once_again(&mut self, broker: &mut Broker) {
        let known = self.commands.len();
        if known == 0 {
            return;
        }
        let (partition, command) = self.commands[broker.chance.place(known)].clone();
        let is_other = broker.chance.one_in(3);
        let Some(frame) = Frame::decode(&command.value) else { return };
        let headers = frame.headers.map(|headers| {
            let once = headers.once.map(|once| if is_other { Once { content: [2; 8], ..once } } else { once });
            Headers { once, ..headers }
        });
        self.append_frame(broker, partition, &Frame { headers, ..frame });
    }

    fn size_pool(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let capacity = 1_000 * (2 + broker.chance.below(5));
        self.append_to_pool(broker, layout, now, Payload::DefinePool(&DefinePool { pool: POOL, capacity, state: PoolState::Open }));
    }

    fn size_quota(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let division = format!("division-{}", broker.chance.below(3));
        let nominal = 1_000 * broker.chance.below(4);
        self.append_to_pool(broker, layout, now, Payload::SetQuota(&SetQuota { pool: POOL, division_id: &division, nominal }));
    }

    fn preempt(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let agent = format!("agent-{}", broker.chance.below(AGENTS));
        let delta = 500 * (1 + broker.chance.below(3));
        let preempt = Preempt { agent_id: &agent, pool: POOL, delta, reason: "others need them", requested_by: "person" };
        self.append_to_pool(broker, layout, now, Payload::Preempt(&preempt));
    }

    fn retrain(&mut self, broker: &mut Broker, layout: &Layout, now: EventTime) {
        let division = format!("division-{}", broker.chance.below(3));
        let division_id = broker.chance.one_in(2).then_some(division.as_str());
        // One in 4 names no model and is refused.
        let model_family = if broker.chance.one_in(4) { "" } else { "model" };
        let dataset_refs = List::Slice(&["traces"]);
        let job = CreateRetrain { model_family, dataset_refs, priority: 1, division_id, requested_by: "person" };
        self.append_to_pool(broker, layout, now, Payload::CreateRetrain(&job));
    }

    fn append_to_reports(&mut self, broker: &mut Broker, layout: &Layout, key: &str, time: EventTime, payload: Payload<'_>) {
        let first = layout.all_of("eval.reports").unwrap_or_default().start;
        let partition = first + Key::new(key).partition(layout.report_partitions) as usize;
        self.append(broker, partition, key, time, payload);
    }

    fn append_to_pool(&mut self, broker: &mut Broker, layout: &Layout, time: EventTime, payload: Payload<'_>) {
        if let Some(partition) = layout.find("alloc.requests", 0) {
            self.append(broker, partition, POOL, time, payload);
        }
    }

    fn append(&mut self, broker: &mut Broker, partition: usize, key: &str, time: EventTime, payload: Payload<'_>) {
        let mut bytes = Vec::new();
        payload.put(&mut bytes);
        self.append_frame(broker, partition, &outside(payload.kind() as u32, key, time, &bytes));
    }

    fn append_frame(&mut self, broker: &mut Broker, partition: usize, frame: &Frame<'_>) {
        let mut value = Vec::new();
        frame.put(&mut value);
        let message = Rc::new(Message { key: Vec::new(), value });
        self.acknowledged.push((partition, broker.append(partition, &message), message));
    }
}

/// What a command under a key says.
fn once_words(number: usize) -> String {
    format!("{ONCE}{number}")
}

fn outside<'a>(kind: u32, key: &'a str, time: EventTime, payload: &'a [u8]) -> Frame<'a> {
    Frame { kind, hops: 0, stream: Head::OUTSIDE.into(), sequence: 0, time, key, headers: None, payload }
}
