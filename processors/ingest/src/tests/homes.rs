//! Homes and reroutes as stories.

use super::desk::{Desk, GOOD, NOW, show};
use merit_core::EventTime;
use merit_core::record::{AssignEntity, EvalReport};

/// Runs a table of `report AGENT DIVISION PRODUCT` and `assign AGENT DIVISION PRODUCT` (`-`: none) against what each leads to.
#[track_caller]
fn check(mut desk: Desk, table: &[(&str, &str)]) {
    let optional = |text| (text != "-").then_some(text);
    for (command, expected) in table {
        let words: Vec<&str> = command.split_whitespace().collect();
        let emitted = match words[..] {
            ["report", agent_id, division, product] => {
                desk.report(EvalReport { agent_id, division_id: optional(division), product_id: optional(product), ..GOOD })
            }
            ["assign", agent_id, division_id, product] => {
                desk.take(agent_id, &AssignEntity { agent_id, division_id, product_id: optional(product) })
            }
            _ => panic!("no command: {command}"),
        };
        assert_eq!(show(&emitted), *expected, "{command}");
        desk.reload();
    }
}

#[test]
fn the_first_report_sets_the_home() {
    check(
        Desk::new(&[]),
        &[
            ("report ann red cars", "home of ann is red cars, ann counts for red cars as its own id"),
            ("report ann - -", "ann counts for red cars as its own id"),
            ("report ann blue -", "ann counts for blue cars as its own id"), // for this report only
            ("report ann - bikes", "ann counts for red bikes as its own id"),
            ("report ann - -", "ann counts for red cars as its own id"),
            ("report bob - -", "home of bob is default -, bob counts for default - as its own id"),
            ("report bob red cars", "bob counts for red cars as its own id"),
            ("report bob - -", "bob counts for default - as its own id"),
        ],
    );
}

#[test]
fn an_assignment_sets_the_home_and_is_told_where_it_changes() {
    check(
        Desk::new(&[]),
        &[
            ("assign ann red cars", "home of ann is red cars"),
            ("assign ann red cars", ""),
            ("report ann - -", "ann counts for red cars as its own id"),
            ("assign ann red -", "home of ann is red -"),
            ("report ann - -", "ann counts for red - as its own id"),
            ("assign ann blue -", "home of ann is blue -"),
            ("report ann red cars", "ann counts for red cars as its own id"),
            ("assign ann blue -", ""),
            ("assign bob default -", "home of bob is default -"), // not heard of before, so it is news
        ],
    );
}

/// The partitions are those of the vectors of Kafka's own murmur2 test: (hash & 0x7fffffff) % 4.
#[test]
fn a_report_in_a_wrong_partition_goes_on_to_the_one_that_kafka_would_choose() {
    for (agent_id, home) in [("21", 0), ("foobar", 2), ("a-little-bit-long-string", 0), ("a-little-bit-longer-string", 3), ("abc", 3)] {
        for partition in 0..4 {
            let mut desk = Desk::partition(partition, 4, &[]);
            let (received_at, report) = (EventTime(NOW.0 + 7), EvalReport { agent_id, ..GOOD });
            let emitted = desk.take_at(received_at, 0, "some other key", &report);
            let counts = desk.counts();
            if partition == home {
                assert_eq!((emitted.len(), counts.accepted, counts.rerouted), (2, 1, 0), "{agent_id}");
            } else {
                assert_eq!(show(&emitted), [agent_id, " rerouted by ", agent_id].concat());
                // It keeps its first receipt, and not one byte of it changes.
                assert_eq!(emitted[0].time, received_at);
                emitted[0].read(|payload| assert_eq!(payload, (&report).into()));
                assert_eq!((counts.accepted, counts.rerouted), (0, 1), "{agent_id}");
            }
        }
    }
}
