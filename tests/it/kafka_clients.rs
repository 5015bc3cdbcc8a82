//! Other people's clients on Merit's topics: Python's with a schema registry, and Kafka's own console tools. They run as
//! `examples/clients` has them.

use merit_tests::copies::Application;
use merit_tests::directory::{Directory, Profile};
use merit_tests::kafka::Kafka;
use merit_tests::process::{Done, HANG, wait_until};
use merit_tests::repository;
use merit_tests::server::Server;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Agents that each client reports on.
const AGENTS: usize = 20;

fn run(command: &mut Command, input: &str) -> Vec<Value> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("a child");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let done = Done { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
    assert_eq!(done.code, Some(0), "{command:?}: {done:#?}");
    done.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn python(kafka: &Kafka, program: &str, arguments: &[&str], input: &str) -> Vec<Value> {
    let mut command = Command::new(repository("scripts/python_clients.sh"));
    command.arg(repository(program)).args(["--brokers", kafka.bootstrap(), "--registry", kafka.registry()]).args(arguments);
    run(&mut command, input)
}

fn console(kafka: &Kafka, arguments: &[&str], input: &str) -> Vec<Value> {
    let mut command = Command::new(repository("examples/clients/console.sh"));
    run(command.env("KAFKA_JARS", kafka.folder().join("jars")).args(arguments), input)
}

/// Reports of agents whose names begin so, one a line.
fn reports(prefix: &str) -> String {
    let report = |number: usize| {
        let agent = format!("{prefix}-{number}");
        json!({
            "id": format!("{agent}-0"), "agentId": agent, "metrics": { "successRate": 0.93 }, "source": prefix,
            "timestamp": "2025-01-17T18:00:00Z", "tags": { "window": "1h" }
        })
    };
    (0..AGENTS).map(|number| format!("{}\n", report(number))).collect()
}

#[test]
fn programs_of_others_write_reports_and_read_decisions() {
    let kafka = Kafka::start_with_registry();
    let application = Application::with_registry(&kafka, Directory::new(Profile::Default));
    application.apply().ok();
    let server = Server::of(application.run("a"));
    python(&kafka, "examples/clients/publish_reports.py", &[], &reports("avro"));
    python(&kafka, "examples/clients/publish_reports.py", &["--json"], &reports("json"));
    console(&kafka, &["publish", kafka.bootstrap()], &reports("console"));
    let committed = || (0..4).map(|partition| application.committed("eval.reports", partition)).sum::<u64>();
    // The configuration, every report, and as many again as were forwarded.
    wait_until("the reports are taken", || committed() >= 4 + 3 * AGENTS as u64);
    application.wait_consumed();

    let read = python(&kafka, "examples/clients/read_decisions.py", &[], "");
    let of = |topic: &str, kind: &str| read.iter().filter(|line| line["topic"] == topic && line["type"] == kind).collect::<Vec<_>>();
    let agents = |prefix: &str| (0..AGENTS).map(|number| format!("{prefix}-{number}")).collect::<BTreeSet<_>>();
    let all: BTreeSet<String> = ["avro", "json", "console"].into_iter().flat_map(agents).collect();
    for (topic, kind) in [("eval.scores", "ScoreUpdated"), ("eval.promotions", "PromotionProposed")] {
        let found: BTreeSet<String> =
            of(topic, kind).iter().filter_map(|line| line["record"]["agentId"].as_str().map(str::to_owned)).collect();
        assert_eq!(found, all, "{topic}");
    }
    assert_eq!(of("eval.scores", "ScoreUpdated").len(), all.len(), "each counts once");
    assert_eq!(of("alloc.applied", "AllocationRequested").len(), all.len());
    assert!(of("audit", "SealedLeaf").len() > 2 * all.len());

    let texts = console(&kafka, &["read", kafka.bootstrap(), "eval.reports"], "");
    let read: BTreeSet<String> = texts.iter().filter_map(|report| report["agentId"].as_str().map(str::to_owned)).collect();
    assert_eq!(read, ["json", "console"].into_iter().flat_map(agents).collect());

    let exported = application.export();
    let forwarded = exported.records_of("eval.reports", "EvalReport").len() - 3 * AGENTS;
    assert!(forwarded > 0, "their partitioners are others");
    let counted = format!("merit_eval_reports_total{{outcome=\"rerouted\"}} {forwarded}");
    let begun = Instant::now();
    while !server.get_from(&server.operations, "/metrics").text.lines().any(|line| line == counted) {
        assert!(begun.elapsed() < HANG, "they are not counted as {counted}");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop();
    exported.is_whole();
}
