//! What is said, and when.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the records that it expects")]

use crate::{Params, SimulatedCluster};
use merit_core::processor::{Configuration, DynProcessor};
use merit_core::record::{AllocationDispatched, Progress};
use merit_core::table::RowMap;
use merit_core::{Digest, EventTime, Fault, Head, Key, Kind, Payload, Record, Settings, Sink, Uuid};
use std::format;
use std::string::String;
use std::vec::Vec;

#[derive(Default)]
struct Heard(Vec<String>);

impl Sink for Heard {
    fn emit(&mut self, _: Key<'_>, time: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let text = match payload {
            Payload::Acked(acked) => format!("{}: acked {}@{}", time.0, acked.agent_id, acked.fence),
            Payload::Observed(seen) => format!("{}: observed {}@{} {}", time.0, seen.agent_id, seen.fence, seen.quantity),
            other => format!("{other:?}"),
        };
        self.0.push(text);
        Ok(0)
    }
    fn next_sequence(&self) -> u64 {
        0
    }
    fn id(&self, _: u64) -> Uuid {
        Uuid::default()
    }
    fn id_of(&self, _: &Head<'_>) -> Option<Uuid> {
        None
    }
    fn fingerprint(&self, _: Kind) -> Digest {
        [0; 32]
    }
}

fn cluster(acknowledge_after: &str, observe_after: &str) -> SimulatedCluster {
    let mut cluster = SimulatedCluster::default();
    let settings = settings(acknowledge_after, observe_after);
    let emitter = (String::new(), [0; 32]);
    let configuration = Configuration { settings, partition: 0, partitions: 1, origin: String::new(), emitter, epoch: 0 };
    DynProcessor::configure(&mut cluster, &configuration).expect("configured");
    cluster
}

fn settings(acknowledge_after: &str, observe_after: &str) -> Settings {
    let entries = [("acknowledge_after", acknowledge_after), ("observe_after", observe_after)];
    entries.into_iter().map(|(name, value)| (format!("simulated-cluster.{name}"), value.into())).collect()
}

fn step<'a>(cluster: &mut SimulatedCluster, payload: impl Into<Payload<'a>>) -> Vec<String> {
    let head = Head { key: Key::new(""), time: EventTime(0), stream: 0, sequence: 0, offset: 0, hops: 0, sent: None, headers: None };
    let mut heard = Heard::default();
    DynProcessor::step(cluster, &Record { head, payload: payload.into() }, &mut heard).expect("no fault");
    heard.0
}

fn order(cluster: &mut SimulatedCluster, agent_id: &str, fence: u64, at: i64) -> Vec<String> {
    let (allocation_id, timestamp) = (Uuid::default(), EventTime(at));
    step(cluster, &AllocationDispatched { allocation_id, agent_id, pool: "gpus", quantity: fence * 1_000, fence, timestamp })
}

fn progress(cluster: &mut SimulatedCluster, to: i64) -> Vec<String> {
    step(cluster, &Progress { partition: 0, watermark: EventTime(to) })
}

#[test]
fn without_delays_an_order_is_answered_at_once() {
    let cluster = &mut cluster("0ms", "0ms");
    assert_eq!(order(cluster, "ann", 1, 7), ["7: acked ann@1", "7: observed ann@1 1000"]);
    assert_eq!(progress(cluster, 99), [""; 0]);
}

#[test]
fn what_is_due_is_said_in_the_order_of_time_and_key() {
    let cluster = &mut cluster("2ms", "5ms");
    assert_eq!(order(cluster, "eve", 1, 10), [""; 0]);
    assert_eq!(order(cluster, "ann", 1, 10), [""; 0]);
    assert_eq!(progress(cluster, 11), [""; 0]); // one millisecond short
    assert_eq!(progress(cluster, 12), ["12: acked ann@1", "12: acked eve@1"]);

    let mut restored = self::cluster("2ms", "5ms");
    let mut rows = RowMap::default();
    rows.checkpoint_and_evict(cluster);
    rows.restore(&mut restored).expect("readable");
    for cluster in [cluster, &mut restored] {
        assert_eq!(order(cluster, "bob", 1, 13), [""; 0]);
        // At 15 ann, bob and eve in this order, at 18 bob again.
        let said = ["99: observed ann@1 1000", "99: acked bob@1", "99: observed eve@1 1000", "99: observed bob@1 1000"];
        assert_eq!(progress(cluster, 99), said);
    }
}

#[test]
fn an_observation_does_not_come_before_its_acknowledgement() {
    for (acknowledge, observe, problems) in [("5s", "5s", 0), ("5s", "4s", 1), ("soon", "4s", 1)] {
        assert_eq!(Params::read(&settings(acknowledge, observe)).1.len(), problems, "{acknowledge} {observe}");
    }
}
