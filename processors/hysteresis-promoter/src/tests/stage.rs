//! Drives hysteresis-promoter by commands, and writes down what leaves it.

use crate::HysteresisPromoter;
use merit_core::processor::{Configuration, DynProcessor};
use merit_core::record::*;
use merit_core::settings::Settings;
use merit_core::table::RowMap;
use merit_core::{Digest, EventTime, Fault, Fixed, Head, Key, Kind, List, Payload, Record, Sink, Uuid};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// Minute 0 of every story; it begins an hour.
pub(super) const START: i64 = 1_737_136_800_000;

/// Profile `default` of the topology: seed 001.
pub(super) const DEFAULT: &[&str] = &[
    "profiles.default.tiers.0.name=promoted",
    "profiles.default.tiers.0.enter=0.85",
    "profiles.default.tiers.0.exit=0.75",
    "profiles.default.allocation.pool=gpus-us-east",
    "profiles.default.allocation.delta=1",
];

const SCORES: &str = "evaluate/score-window/0/aa";
const OWN: &str = "evaluate/hysteresis-promoter/0/aa";

/// A record that the promoter emitted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Emitted {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub key: String,
    pub time: EventTime,
    pub id: Uuid,
}

impl Emitted {
    pub(super) fn read<R>(&self, then: impl FnOnce(Payload<'_>) -> R) -> R {
        Payload::decode(self.kind, &self.bytes, then).expect("canonical")
    }
}

#[derive(Default)]
struct Tray {
    emitted: Vec<Emitted>,
    next: u64,
}

impl Sink for Tray {
    fn emit(&mut self, key: Key<'_>, time: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let (sequence, mut bytes) = (self.next, Vec::new());
        payload.put(&mut bytes);
        self.emitted.push(Emitted { kind: payload.kind(), bytes, key: key.name.into(), time, id: self.id(sequence) });
        self.next += 1;
        Ok(sequence)
    }
    fn next_sequence(&self) -> u64 {
        self.next
    }
    fn id(&self, sequence: u64) -> Uuid {
        Uuid::of_record(OWN, sequence)
    }
    fn id_of(&self, head: &Head<'_>) -> Option<Uuid> {
        (head.stream == 1).then(|| Uuid::of_record(SCORES, head.sequence))
    }
    fn fingerprint(&self, _: Kind) -> Digest {
        [0; 32]
    }
}

/// One partition of the promoter.
pub(super) struct Stage {
    promoter: HysteresisPromoter,
    tray: Tray,
    settings: Vec<String>,
    /// Scores so far.
    pub scores: u64,
    /// Ids of the promotions so far.
    pub promotions: Vec<Uuid>,
    pub rows: RowMap,
}

pub(super) fn at(minute: i64) -> EventTime {
    EventTime(START + minute * 60_000)
}

pub(super) fn fixed(text: &str) -> Fixed {
    Fixed::parse(text).unwrap_or_else(|| panic!("{text} is no decimal"))
}

impl Stage {
    /// The profile `default` with other parameters, `"dwell=1h"`, and those of the processor, `".event-time.grace=0ms"`.
    pub(super) fn new(settings: &[&str]) -> Stage {
        let (promoter, tray) = (HysteresisPromoter::default(), Tray::default());
        let mut stage = Stage { promoter, tray, settings: Vec::new(), scores: 0, promotions: Vec::new(), rows: RowMap::default() };
        stage.configure(settings);
        stage
    }

    pub(super) fn configure(&mut self, settings: &[&str]) {
        let own = settings.iter().map(|entry| match entry.strip_prefix('.') {
            Some(entry) => entry.to_string(),
            None => format!("profiles.default.{entry}"),
        });
        self.settings = DEFAULT.iter().map(|entry| entry.to_string()).chain(own).collect();
        self.apply();
    }

    fn apply(&mut self) {
        let entries = self.settings.iter().filter_map(|entry| entry.split_once('='));
        let settings: Settings = entries.map(|(path, value)| (path.into(), value.into())).collect();
        assert_eq!(self.promoter.check(&settings), []);
        let (origin, emitter) = ("merit.example/audit".into(), ("key".into(), [0; 32]));
        let configuration = Configuration { settings, partition: 0, partitions: 1, origin, emitter, epoch: 0 };
        DynProcessor::configure(&mut self.promoter, &configuration).expect("configured");
    }

    pub(super) fn take<'a>(&mut self, head: Head<'_>, payload: impl Into<Payload<'a>>) -> Vec<Emitted> {
        DynProcessor::step(&mut self.promoter, &Record { head, payload: payload.into() }, &mut self.tray).expect("no fault");
        let emitted = core::mem::take(&mut self.tray.emitted);
        self.promotions.extend(emitted.iter().filter(|record| record.kind == Kind::PromotionProposed).map(|record| record.id));
        emitted
    }

    pub(super) fn outside(&mut self, key: &str, payload: Payload<'_>) -> Vec<Emitted> {
        self.take(
            Head { key: Key::new(key), time: at(0), stream: Head::OUTSIDE, sequence: 0, offset: 0, hops: 1, sent: None, headers: None },
            payload,
        )
    }

    /// Takes the score of a report that was measured and received then: in the window asked for, and 0.8, in the dead band, in
    /// the others.
    pub(super) fn score(&mut self, agent_id: &str, timestamp: EventTime, window: &str, score: Fixed, observation: Fixed) -> Vec<Emitted> {
        self.scores += 1;
        let windows = ["1h", "24h", "7d"].map(|name| {
            let score = if name == window { score } else { fixed("0.8") };
            WindowScore { name, raw_score: score, score, n: 1, standard_error: None, components: List::EMPTY }
        });
        let updated = ScoreUpdated {
            report_id: "r",
            agent_id,
            division_id: "the report's",
            product_id: None,
            window,
            timestamp,
            received_at: timestamp,
            observation,
            metrics: List::EMPTY,
            windows: List::Slice(&windows),
            confidence: fixed("0.7"),
            profile: [0; 8],
            offset: 0,
        };
        let head = Head {
            key: Key::new(agent_id),
            time: timestamp,
            stream: 1,
            sequence: self.scores,
            offset: 0,
            hops: 0,
            sent: None,
            headers: None,
        };
        self.take(head, &updated)
    }

    pub(super) fn tick(&mut self, time: EventTime) -> Vec<Emitted> {
        self.outside("", (&Tick { time }).into())
    }

    fn outcome(&mut self, agent_id: &str, promotion: &str, outcome: Outcome) -> Vec<Emitted> {
        let promotion_id = self.promotions.get(promotion.parse::<usize>().expect("a number")).copied().or(Some(Uuid([9; 16])));
        let record = AllocationOutcome { agent_id, promotion_id, allocation_id: Uuid([1; 16]), outcome, reason: "preempted" };
        self.outside(agent_id, (&record).into())
    }

    fn by_hand(&mut self, agent_id: &str, action: Action, grant: Option<(&str, u64)>) -> Vec<Emitted> {
        let (pool, delta) = grant.unzip();
        let (rationale, requested_by, confidence) = ("manual override", "ops", Some(fixed("0.9")));
        self.outside(agent_id, (&ProposePromotion { agent_id, action, rationale, confidence, requested_by, pool, delta }).into())
    }

    /// Carries out a command of a story. Times are minutes, GPUs whole, promotions numbered in their order.
    ///
    /// ```text
    /// score A 5 0.9 [24h]      scores A 5 0.9 40 (reports, a ms apart)      tick 60
    /// promote A [POOL 2]       demote A       home A DIVISION
    /// confirmed A 0            rejected A 0   released A 0
    /// ```
    pub(super) fn command(&mut self, text: &str) -> Vec<Emitted> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |text: &str| text.parse::<i64>().unwrap_or_else(|_| panic!("{text} is no number"));
        match words[..] {
            ["score", agent, minute, score] => self.score(agent, at(number(minute)), "1h", fixed(score), fixed(score)),
            ["score", agent, minute, score, window] => self.score(agent, at(number(minute)), window, fixed(score), fixed(score)),
            ["scores", agent, minute, score, n] => {
                let times = (0..number(n)).map(|later| EventTime(at(number(minute)).0 + later));
                times.flat_map(|time| self.score(agent, time, "1h", fixed(score), fixed(score))).collect()
            }
            ["tick", minute] => self.tick(at(number(minute))),
            ["promote", agent] => self.by_hand(agent, Action::Promote, None),
            ["promote", agent, pool, gpus] => self.by_hand(agent, Action::Promote, Some((pool, number(gpus) as u64 * 1_000))),
            ["demote", agent] => self.by_hand(agent, Action::Demote, None),
            ["home", agent_id, division_id] => self.outside(agent_id, (&EntityAssigned { agent_id, division_id, product_id: None }).into()),
            ["confirmed", agent, promotion] => self.outcome(agent, promotion, Outcome::Confirmed),
            ["rejected", agent, promotion] => self.outcome(agent, promotion, Outcome::Rejected),
            ["released", agent, promotion] => self.outcome(agent, promotion, Outcome::Released),
            _ => panic!("no command: {text}"),
        }
    }

    /// Writes a checkpoint.
    pub(super) fn checkpoint(&mut self) {
        self.rows.checkpoint_and_evict(&mut self.promoter);
    }

    /// Entities that have a row as of the last checkpoint.
    pub(super) fn standings(&self) -> usize {
        self.rows.0.keys().filter(|(store, _, _)| store == "tiers").count()
    }

    /// Writes a checkpoint, forgets everything, and reads it back.
    pub(super) fn reload(&mut self) {
        self.checkpoint();
        self.promoter = HysteresisPromoter::default();
        self.rows.restore(&mut self.promoter).expect("readable");
        self.apply();
    }

    /// What was emitted, in a few words a record; a rationale up to its first semicolon.
    pub(super) fn show(&self, emitted: &[Emitted]) -> String {
        let number = |id: Option<Uuid>| self.promotions.iter().position(|known| Some(*known) == id).map_or("?".into(), |at| at.to_string());
        let first = |rationale: &str| rationale.split(';').next().unwrap_or_default().to_string();
        let words = emitted.iter().map(|record| {
            record.read(|payload| match payload {
                Payload::PromotionProposed(r) => format!("{} {}>{}: {}", r.agent_id, r.from_tier, r.to_tier, first(r.rationale)),
                Payload::DemotionProposed(r) => format!("{} {}>{}: {}", r.agent_id, r.from_tier, r.to_tier, first(r.rationale)),
                Payload::RequestAllocation(r) => {
                    format!("asks {} {} {:?} for {}", r.pool, r.delta / 1_000, r.approval, number(r.promotion_id))
                }
                Payload::Release(r) => format!("releases {} of {}", r.pool, number(r.promotion_id)),
                Payload::Held(r) => format!("{} held by {}", r.agent_id, r.guard),
                Payload::ReviewRequired(r) => format!("{} to review", r.agent_id),
                other => panic!("{other:?}"),
            })
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Runs a story: a command and what it leads to. It must come out the same where every command is followed by a restart.
#[track_caller]
pub(super) fn check(settings: &[&str], table: &[(&str, &str)]) {
    for restart in [false, true] {
        let mut stage = Stage::new(settings);
        for (command, expected) in table {
            let emitted = stage.command(command);
            assert_eq!(stage.show(&emitted), *expected, "{command}");
            if restart {
                stage.reload();
            }
        }
    }
}
