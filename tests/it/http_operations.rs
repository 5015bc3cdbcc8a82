//! The operations port, what `merit run` counts, and that what it acknowledged is there.

use merit_core::{Kind, record::EvalReport};
use merit_gateway::model::key::Table;
use merit_gateway::ops::metrics::{ALL, BUCKETS, Shape};
use merit_runtime::tables::{Direction, Tables};
use merit_tests::directory::{Directory, Profile, with_pools};
use merit_tests::dump;
use merit_tests::process::Running;
use merit_tests::{repository, text, write};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A program that serves, and where.
struct Served {
    running: Running,
    addresses: Value,
}

impl Served {
    fn start(directory: &Directory) -> Served {
        let (running, first) = directory.serve().up().unwrap_or_else(|done| panic!("it ended before it listened: {done:#?}"));
        let addresses = serde_json::from_str(&first).unwrap_or_else(|error| panic!("not JSON ({error}): {first:?}"));
        Served { running, addresses }
    }

    fn connect(&self, service: &str) -> Connection {
        Connection::to(self.addresses[service].as_str().expect("an address"))
    }

    /// Every sample of `/metrics` by name and labels.
    fn scrape(&self) -> BTreeMap<String, f64> {
        let (status, body) = self.connect("operations").call("GET", "/metrics", "").expect("it answers");
        assert_eq!(status, 200, "{body}");
        let samples = body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{name} is {value}")))).collect()
    }

    /// Ends it by a signal; its standard error.
    fn stop(self) -> String {
        let done = self.running.terminate();
        assert_eq!(done.code, Some(0), "{done:#?}");
        done.err
    }
}

/// A connection that is kept.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn to(address: &str) -> Connection {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("could not connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a socket can do that");
        Connection(BufReader::new(stream))
    }

    /// Status and body; none where the server went away.
    fn call(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let content_type = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{content_type}content-length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes()).ok()?;
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once([' ', ':']) {
                None => break,
                Some(("HTTP/1.1", rest)) => status = rest[..3].parse().ok(),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
                Some(_) => {}
            }
        }
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).ok()?;
        Some((status?, String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn post(&mut self, path: &str, body: &Value, expected: u16) -> Value {
        let (status, answer) = self.call("POST", path, &body.to_string()).expect("it answers");
        assert_eq!(status, expected, "{path}: {answer}");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("not JSON ({error}): {answer}"))
    }
}

fn report(id: &str, agent: &str, score: f64, timestamp: &str) -> Value {
    json!({ "id": id, "agentId": agent, "metrics": { "successRate": score }, "source": "test", "timestamp": timestamp })
}

fn now() -> String {
    merit_runtime::live::now().to_string()
}

#[test]
fn a_small_flow_is_counted_under_every_documented_name() {
    let directory = with_pools(Profile::Default);
    let served = Served::start(&directory);
    let mut evaluation = served.connect("evaluation");
    let (first, then) = (report("r-1", "agent-1", 0.93, &now()), now());
    evaluation.post("/eval/submit", &first, 200);
    evaluation.post("/eval/submit", &first, 200);
    evaluation.post("/eval/submit", &report("r-1", "agent-1", 0.1, &then), 422);
    evaluation.post("/eval/submit", &report("r-2", "agent-1", 0.9, "2020-01-01T00:00:00Z"), 200);
    evaluation.post("/eval/retrain", &json!({ "modelFamily": "vision" }), 201);
    evaluation.call("GET", "/nothing", "").expect("it answers");
    let mut allocation = served.connect("allocation");
    let mut request = |pool: &str| {
        let body = json!({ "agentId": "agent-1", "pool": pool, "delta": 1, "reason": "test", "requestedBy": "test" });
        allocation.post("/alloc/request", &body, 201)["requestId"].clone()
    };
    let [applied, rejected] = ["gpus-us-east", "gpus-us-east"].map(&mut request);
    allocation.post("/alloc/approve", &json!({ "requestId": applied }), 200);
    allocation.post("/alloc/reject", &json!({ "requestId": rejected, "rationale": "no", "policyId": "finance-budget" }), 200);
    let preempt = json!({ "agentId": "agent-1", "pool": "gpus-us-east", "delta": 1, "reason": "test", "requestedBy": "test" });
    allocation.post("/alloc/preempt", &preempt, 202);

    let samples = served.scrape();
    let expected = [
        (r#"merit_eval_reports_total{outcome="accepted"}"#, 1.0),
        (r#"merit_eval_reports_total{outcome="duplicate"}"#, 1.0),
        (r#"merit_eval_reports_total{outcome="rejected"}"#, 1.0),
        (r#"merit_eval_reports_total{outcome="late"}"#, 1.0),
        ("merit_eval_scoring_seconds_count", 4.0),
        (r#"merit_promotions_total{action="promote"}"#, 1.0),
        (r#"merit_alloc_decision_seconds_count{command="request"}"#, 2.0),
        (r#"merit_alloc_decision_seconds_count{command="approve"}"#, 1.0),
        (r#"merit_alloc_decision_seconds_count{command="reject"}"#, 1.0),
        (r#"merit_alloc_decision_seconds_count{command="preempt"}"#, 1.0),
        (r#"merit_allocations_total{outcome="applied",policy="sentinel-allow"}"#, 1.0),
        (r#"merit_allocations_total{outcome="rejected",policy="other"}"#, 1.0),
        ("merit_preemptions_total", 1.0),
        ("merit_retrain_queue_jobs", 1.0),
        (r#"merit_committed_records_total{topic="eval.scores"}"#, 1.0),
        ("merit_inbox_commands", 0.0),
        ("merit_answers_waiting", 0.0),
        ("merit_fold_lag_records", 0.0),
        (r#"merit_http_requests_total{service="evaluation",operation="submit",status="2xx"}"#, 3.0),
        (r#"merit_http_requests_total{service="evaluation",operation="submit",status="4xx"}"#, 1.0),
        (r#"merit_http_requests_total{service="evaluation",operation="none",status="4xx"}"#, 1.0),
        (r#"merit_http_connections_open{service="evaluation"}"#, 1.0),
        (r#"merit_http_connections_accepted_total{service="allocation"}"#, 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
    assert_eq!(samples["merit_commit_seconds_count"], samples["merit_commits_total"]);
    assert!(samples["merit_commits_total"] >= 8.0, "each call waited for its commit");
    for metric in ALL {
        let name = if metric.shape == Shape::Histogram { format!("{}_count", metric.name) } else { metric.name.into() };
        let of_metric = |sample: &&String| sample.split('{').next() == Some(&name);
        let found = samples.keys().find(of_metric).unwrap_or_else(|| panic!("{name} is not there"));
        for (label, _) in metric.labels {
            assert!(found.contains(&format!("{label}=\"")), "{found} has no {label}");
        }
    }
    let documented = |sample: &String| ALL.iter().any(|metric| sample.starts_with(metric.name));
    let unknown: Vec<&String> = samples.keys().filter(|sample| !documented(sample)).collect();
    assert_eq!(unknown, Vec::<&String>::new());
    assert!(!samples.keys().any(|sample| sample.contains("agent-1") || sample.contains("finance")), "no label is a name from outside");
    served.stop();
}

#[test]
fn the_process_tells_that_it_lives_and_that_it_is_ready_and_keeps_a_diary() {
    let directory = Directory::new(Profile::Default);
    let served = Served::start(&directory);
    let mut operations = served.connect("operations");
    assert_eq!(operations.call("GET", "/healthz", ""), Some((200, r#"{"status":"ok"}"#.into())));
    assert_eq!(operations.call("GET", "/readyz", ""), Some((200, r#"{"status":"ready"}"#.into())));
    let (status, document) = operations.call("GET", "/openapi.json", "").expect("it answers");
    assert_eq!(status, 200);
    assert!(["/healthz", "/readyz", "/metrics"].iter().all(|path| document.contains(path)), "{document}");
    drop(operations);
    let told = served.stop();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    let messages: Vec<&str> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    let in_order = ["merit starts", "listens", "recovered", "read models are up to the log", "listens", "merit ends", "everything taken"];
    let mut rest = messages.iter();
    for message in in_order {
        assert!(rest.any(|told| told.starts_with(message)), "{message} is not told in its place: {messages:?}");
    }
}

/// Every row of the read models of a directory that nobody serves.
fn rows(directory: &Directory) -> Vec<(Vec<u8>, Vec<u8>)> {
    let tables = Tables::open(&directory.data().join("read-models")).unwrap_or_else(|error| panic!("{error}"));
    let mut rows = Vec::new();
    let scanned = tables.under(&[], None, Direction::Forward, |key, row| {
        rows.push((key.to_vec(), row.to_vec()));
        ControlFlow::Continue(())
    });
    scanned.unwrap_or_else(|error| panic!("{error}"));
    rows
}

#[test]
fn an_agent_stands_once_on_each_board_and_read_models_that_are_folded_anew_equal_those_that_were_live() {
    let directory = with_pools(Profile::Default);
    // The second process finds places in rows that the first one kept in memory.
    for numbers in [0..150_u32, 150..300] {
        let served = Served::start(&directory);
        let mut evaluation = served.connect("evaluation");
        for number in numbers {
            // Scores go up and down, and agents move from one division to another.
            let score = f64::from(number * 37 % 100) / 100.0;
            let mut body = report(&format!("r-{number}"), &format!("agent-{}", number % 7), score, &now());
            body["divisionId"] = format!("division-{}", number / 100).into();
            evaluation.post("/eval/submit", &body, 200);
        }
        drop(evaluation);
        served.stop();
    }
    let live = rows(&directory);
    assert_eq!(live.iter().filter(|(key, _)| key[0] == Table::Board as u8).count(), 7, "each on that of its division");
    std::fs::remove_dir_all(directory.data().join("read-models")).expect("they are there");
    Served::start(&directory).stop();
    assert_eq!(rows(&directory), live);
}

/// Connections that send at once.
const LANES: usize = 32;

/// Reports until the process is killed, and how many of them must be acknowledged before.
const REPORTS: u64 = 20_000;

#[test]
fn what_was_acknowledged_before_a_kill_in_the_middle_of_the_load_is_in_the_log() {
    let directory = Directory::new(Profile::Default);
    let served = Served::start(&directory);
    let address = served.addresses["evaluation"].as_str().expect("an address").to_owned();
    let (next, acknowledged, count) = (AtomicU64::new(0), Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    let (full, is_full) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            let full = full.clone();
            let (next, acknowledged, count, address) = (&next, &acknowledged, &count, &address);
            scope.spawn(move || {
                let (mut connection, mut mine) = (Connection::to(address), Vec::new());
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    let id = format!("kill-{number}");
                    let body = report(&id, &format!("agent-{}", number % 1_000), 0.5, &now());
                    match connection.call("POST", "/eval/submit", &body.to_string()) {
                        Some((200, _)) => mine.push(id),
                        Some((status, answer)) => panic!("{status}: {answer}"),
                        None => break,
                    }
                    if count.fetch_add(1, Relaxed) + 1 == REPORTS {
                        full.send(()).expect("the test waits for it");
                    }
                }
                acknowledged.lock().expect("no lane panicked").extend(mine);
            });
        }
        drop(full);
        is_full.recv().expect("the load goes on until the kill");
        assert!(served.running.kill(), "it was still serving");
    });
    let acknowledged = acknowledged.into_inner().expect("no lane panicked");
    assert!(acknowledged.len() as u64 >= REPORTS, "{}", acknowledged.len());
    // The next start recovers what the kill left.
    Served::start(&directory).stop();
    let records = directory.dump();
    let reports = dump::of_topic(&records, "eval.reports").filter(|entry| entry.kind == Kind::EvalReport);
    let ids = reports
        .filter_map(|entry| <EvalReport<'_> as merit_core::Datum>::decode(&entry.payload).and_then(|report| report.id.map(Into::into)));
    let in_log: BTreeSet<String> = ids.collect();
    let lost: Vec<&String> = acknowledged.difference(&in_log).collect();
    assert_eq!(lost, Vec::<&String>::new(), "of {} acknowledged", acknowledged.len());
    assert_eq!(directory.replay().code, Some(0));
}

const HEAD: &str = "# Metrics

Generated from the code: `UPDATE_EXPECT=1 cargo test --release -p merit-tests --test it -- page_of_metrics`.

`merit run` tells them at `/metrics` of its operations port, 8050 (`MERIT_OPS_ADDR`), in the text format of Prometheus.
Counters begin at 0 with the process.
No label carries a name from outside: each value is one of a set that the code knows.
";

fn page() -> String {
    let labels = |labels: &[(&str, &str)]| {
        let labels: Vec<String> = labels.iter().map(|(name, values)| format!("`{name}`: {values}")).collect();
        labels.join("<br>")
    };
    let rows = ALL.iter().map(|metric| {
        let shape = format!("{:?}", metric.shape).to_lowercase();
        format!("| `{}` | {shape} | {} | {} | {} |\n", metric.name, metric.unit, labels(metric.labels), metric.meaning)
    });
    let buckets: Vec<String> = BUCKETS.iter().map(f64::to_string).collect();
    let tail = format!("\nBuckets of every histogram end at {} and +Inf seconds.\n", buckets.join(", "));
    format!("{HEAD}\n| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n{}{tail}", rows.collect::<String>())
}

#[test]
fn the_page_of_metrics_is_the_one_of_the_code() {
    let path = repository("docs/metrics.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        write(&path, page());
    }
    assert_eq!(text(&path), page(), "run the tests with UPDATE_EXPECT=1 to write the page anew");
}
