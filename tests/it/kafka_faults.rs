//! Copies and brokers die, stand still, come and go, under load; behind each round everything is computed again.
//!
//! `MERIT_ROUNDS` says how many rounds, `MERIT_SEED` which; `scripts/soak.sh` sets both.

use merit_core::record::{EvalReport, Metric, ReportLate, ScoreUpdated};
use merit_core::{Datum, EventTime, Fixed, Kind, List};
use merit_tests::copies::{Application, Copy, Sent};
use merit_tests::directory::{Directory, Profile};
use merit_tests::kafka::Kafka;
use merit_tests::random::Random;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Reports a round, and the event time between two: a round is a day.
const REPORTS: u64 = 12_000;
const STEP: u64 = 7_200;

const AGENTS: u64 = 300;
const BROKERS: u16 = 3;
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug)]
enum Fault {
    KillCopy,
    /// And its disk is lost.
    LoseCopy,
    KillBroker,
    /// Beyond its session, so that another takes its tasks over.
    PauseCopy,
    /// A copy ends, and comes back later.
    Leave,
}

const FAULTS: [Fault; 5] = [Fault::KillCopy, Fault::KillBroker, Fault::PauseCopy, Fault::Leave, Fault::LoseCopy];

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Round<'a> {
    application: &'a Application,
    kafka: &'a Kafka,
    copies: BTreeMap<&'static str, Copy>,
    random: Random,
}

impl Round<'_> {
    fn nap(&mut self, least: u64, most: u64) {
        std::thread::sleep(Duration::from_millis(least + self.random.below(most - least)));
    }

    fn start(&mut self, name: &'static str) {
        // The last of them is headless.
        let call = if Some(&name) == NAMES.last() { self.application.headless(name) } else { self.application.run(name) };
        self.copies.insert(name, Copy::of(call));
    }

    fn take(&mut self) -> (&'static str, Copy) {
        let name = *self.random.one(&self.copies.keys().copied().collect::<Vec<_>>());
        (name, self.copies.remove(name).expect("one that runs"))
    }

    fn happen(&mut self, fault: Fault) {
        match fault {
            Fault::KillCopy | Fault::LoseCopy => {
                let (name, copy) = self.take();
                copy.kill();
                if matches!(fault, Fault::LoseCopy) {
                    let _ = std::fs::remove_dir_all(self.application.data(name));
                }
                self.nap(0, 2_000);
                self.start(name);
            }
            Fault::KillBroker => {
                let broker = 1 + self.random.below(BROKERS.into()) as u16;
                self.kafka.kill(broker);
                self.nap(0, 8_000);
                self.kafka.restart(broker);
            }
            Fault::PauseCopy => {
                let (name, copy) = self.take();
                copy.pause();
                self.nap(17_000, 25_000);
                copy.resume();
                self.copies.insert(name, copy);
            }
            Fault::Leave => {
                let (name, copy) = self.take();
                copy.stop();
                self.nap(0, 20_000);
                self.start(name);
            }
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "what each round took is for a person to see")]
fn nothing_is_lost_and_nothing_done_twice() {
    let (rounds, seed) = (number("MERIT_ROUNDS", 15), number("MERIT_SEED", 1));
    let kafka = Kafka::start(BROKERS);
    let application = Application::begin(&kafka, Directory::new(Profile::Example));
    let mut round = Round { application: &application, kafka: &kafka, copies: BTreeMap::new(), random: Random::new(seed) };
    NAMES.iter().for_each(|name| round.start(name));
    let exported = Directory::with_topology(application.directory.topology.clone());
    for number in 0..rounds {
        let fault = FAULTS[(number % FAULTS.len() as u64) as usize];
        let load = load(&application, &mut round.random, number);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| application.send(&load, Duration::from_millis(40)));
            round.nap(500, 3_000);
            round.happen(fault);
            sending.join().expect("everything is sent");
        });
        let sent = begun.elapsed();
        application.wait_drained();
        let drained = begun.elapsed();
        check(&application, &exported, (number + 1) * REPORTS);
        println!(
            "round {number}: {fault:?}, sent in {sent:.1?}, drained {:.1?} later, checked in {:.1?}",
            drained - sent,
            begun.elapsed() - drained
        );
    }
    round.copies.into_values().for_each(|copy| drop(copy.stop()));
}

fn load(application: &Application, random: &mut Random, round: u64) -> Vec<Sent> {
    let mut load = Vec::new();
    for number in round * REPORTS..(round + 1) * REPORTS {
        let time = EventTime((1_750_000_000_000 + number * STEP) as i64);
        let agent = random.below(AGENTS);
        // Some are good and some are not, so that units move.
        let value = Fixed((400_000 + 500_000 * (agent % 2) + random.below(100_000)) as i64);
        let metrics = [Metric { name: "successRate", value }];
        load.push(application.report(&EvalReport {
            id: Some(&format!("report-{number}")),
            agent_id: &format!("agent-{agent}"),
            division_id: None,
            product_id: None,
            metrics: List::Slice(&metrics),
            source: "test",
            timestamp: time,
            window: None,
            tags: List::EMPTY,
        }));
        if number % 2_000 == 1_999 {
            load.extend(application.ticks(time));
        }
    }
    load
}

/// Each report is scored or late, once; every decision is signed and chained; and what each task wrote is what it computes again.
#[expect(clippy::print_stdout, reason = "what was found at first is for a person to see")]
fn check(application: &Application, exported: &Directory, reports: u64) {
    application.export_into(exported);
    let first = exported.call(["audit", "verify"]).run();
    if first.code != Some(0) {
        // A broker that does not know yet that another leads a partition tells an older end of it; what is lost stays so.
        println!("copied once more: {}", first.err);
        std::thread::sleep(Duration::from_secs(5));
        application.export_into(exported);
    }
    exported.is_whole();
    let mut seen = vec![0_u32; reports as usize];
    application.each_record(exported, &["eval.scores", "eval.late"], |frame| {
        let id = match frame.kind() {
            Some(Kind::ReportLate) => ReportLate::decode(frame.payload).map(|late| late.report_id),
            _ => ScoreUpdated::decode(frame.payload).map(|score| score.report_id),
        };
        let number = id.and_then(|id| id.strip_prefix("report-")?.parse::<usize>().ok());
        seen[number.expect("one of ours")] += 1;
    });
    let wrong: Vec<usize> = (0..seen.len()).filter(|number| seen[*number] != 1).take(5).collect();
    assert!(wrong.is_empty(), "not once: {:?}", wrong.iter().map(|number| (number, seen[*number])).collect::<Vec<_>>());
}
