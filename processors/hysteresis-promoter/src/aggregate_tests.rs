//! Tests of the promoter of divisions and products.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the records that it expects")]

use crate::AggregatePromoter;
use crate::event::AggregatePorts;
use merit_core::processor::{Configuration, DynProcessor, Ports};
use merit_core::record::{ScoreUpdated, WindowScore};
use merit_core::{Digest, EventTime, Fault, Fixed, Head, Key, Kind, List, Payload, Record, Settings, Sink, Uuid};
use std::string::String;
use std::vec::Vec;

/// Type, entity and division of what was emitted.
#[derive(Default)]
struct Tray(Vec<(Kind, String, String)>);

impl Sink for Tray {
    fn emit(&mut self, key: Key<'_>, _: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let division = match payload {
            Payload::PromotionProposed(record) => record.division_id,
            Payload::DemotionProposed(record) => record.division_id,
            _ => "",
        };
        self.0.push((payload.kind(), key.name.into(), division.into()));
        Ok(self.next_sequence() - 1)
    }
    fn next_sequence(&self) -> u64 {
        self.0.len() as u64
    }
    fn id(&self, sequence: u64) -> Uuid {
        Uuid::of_record("tray", sequence)
    }
    fn id_of(&self, _: &Head<'_>) -> Option<Uuid> {
        None
    }
    fn fingerprint(&self, _: Kind) -> Digest {
        [0; 32]
    }
}

fn score(promoter: &mut AggregatePromoter, score: i64, tray: &mut Tray) {
    let score = Fixed(score);
    let window = WindowScore { name: "1h", raw_score: score, score, n: 9, standard_error: None, components: List::EMPTY };
    let updated = ScoreUpdated {
        report_id: "division:research",
        agent_id: "division:research",
        division_id: "research",
        product_id: None,
        window: "1h",
        timestamp: EventTime(0),
        received_at: EventTime(0),
        observation: score,
        metrics: List::EMPTY,
        windows: List::Slice(&[window]),
        confidence: Fixed::ONE,
        profile: [0; 8],
        offset: 0,
    };
    let head =
        Head { key: Key::new(updated.agent_id), time: EventTime(0), stream: 0, sequence: 0, offset: 0, hops: 0, sent: None, headers: None };
    promoter.step(&Record { head, payload: Payload::ScoreUpdated(&updated) }, tray).expect("no fault");
}

#[test]
fn a_division_rises_and_falls_and_moves_no_gpus() {
    let settings = |(path, value): (&str, &str)| (path.into(), value.into());
    let grants = [("profiles.default.allocation.pool", "all"), ("profiles.default.allocation.delta", "1")];
    let own =
        [("profiles.default.allocation.divisions.research.pool", "own"), ("profiles.default.allocation.divisions.research.delta", "1")];
    let settings: Settings = grants.into_iter().chain(own).map(settings).collect();
    let configuration =
        Configuration { settings, partition: 0, partitions: 1, origin: String::new(), emitter: (String::new(), [0; 32]), epoch: 0 };
    let mut promoter = AggregatePromoter::default();
    DynProcessor::configure(&mut promoter, &configuration).expect("no fault");
    let mut tray = Tray::default();
    [900_000, 800_000, 700_000].into_iter().for_each(|value| score(&mut promoter, value, &mut tray));
    let row = |kind| (kind, "division:research".into(), "research".into());
    assert_eq!(tray.0, [row(Kind::PromotionProposed), row(Kind::DemotionProposed)]);
    assert!(tray.0.iter().all(|(kind, ..)| AggregatePorts::WRITES.contains(*kind)));
}
