//! Read models are folds of the log: those that were live, those folded anew, and those folded batch by batch are equal.

use merit::registry::registered;
use merit_core::Datum;
use merit_gateway::model::Fold;
use merit_runtime::embedded::Batches;
use merit_runtime::layout::Layout;
use merit_runtime::store::Store;
use merit_runtime::tables::{Direction, Tables};
use merit_tests::directory::{Directory, Profile, example, with_pools};
use merit_tests::dump;
use merit_tests::random::Random;
use merit_tests::server::{Client, Server};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Every answer to a GET that leads on from the lists, by its path.
fn everything(server: &Server) -> BTreeMap<String, String> {
    let mut paths: VecDeque<String> =
        ["/eval/scoreboard?topK=1000", "/eval/promotions?limit=7", "/alloc/requests?limit=7", "/alloc/pools"].map(Into::into).into();
    let mut seen = BTreeSet::new();
    let mut answers = BTreeMap::new();
    while let Some(path) = paths.pop_front() {
        if !seen.insert(path.clone()) {
            continue;
        }
        // What refuses says the name of the request.
        let text = server.send("GET", &path, &[("X-Request-Id", "same")], "").text;
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        paths.extend(leads_to(&path, &body));
        answers.insert(path, text);
    }
    answers
}

/// Where an answer leads.
fn leads_to(path: &str, body: &Value) -> Vec<String> {
    let entries = |list: &str| body[list].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut paths = Vec::new();
    if let Some(cursor) = body["nextCursor"].as_str().filter(|_| !path.starts_with("/eval/agent")) {
        let list = path.split('?').next().unwrap_or_default();
        paths.push(format!("{list}?limit=7&cursor={cursor}"));
    }
    for entry in entries("entries") {
        let agent = text(&entry["agentId"]);
        paths.push(format!("/eval/scoreboard?topK=1000&divisionId={}", text(&entry["divisionId"])));
        paths.push(format!("/eval/agent/division:{}/score", text(&entry["divisionId"])));
        for window in ["1h", "24h", "7d"] {
            paths.push(format!("/eval/agent/{agent}/score?window={window}&from=1970-01-01T00:00:00Z&limit=1000"));
        }
    }
    for entry in entries("promotions") {
        paths.push(format!("/trace/{}", text(&entry["id"])));
        paths.push(format!("/eval/agent/{}/score", text(&entry["agentId"])));
    }
    for entry in entries("requests") {
        paths.push(format!("/alloc/{}", text(&entry["id"])));
        if let Some(job) = entry["agentId"].as_str().and_then(|agent| agent.strip_prefix("retrain:")) {
            paths.push(format!("/eval/jobs/{job}"));
        }
    }
    paths
}

fn assert_same(what: &str, expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>) {
    for (path, text) in expected {
        assert_eq!(found.get(path), Some(text), "{what}: {path}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// Reports of many agents in order of a draw, commands, approvals and refusals, until a process has had enough of them or is gone.
fn load(server: &Client, seed: u64, calls: &AtomicU64, most: u64) {
    let mut random = Random::new(seed);
    while calls.fetch_add(1, Relaxed) < most {
        let at = calls.load(Relaxed);
        let agent = format!("agent-{}", random.below(30));
        let (path, body) = match random.below(10) {
            0 => ("/alloc/request", json!({ "agentId": agent, "pool": "gpus-us-east", "delta": 1, "reason": format!("r{at}") })),
            1 => ("/eval/promote", json!({ "agentId": agent, "rationale": format!("p{at}"), "pool": "gpus-us-east" })),
            2 => ("/alloc/preempt", json!({ "agentId": agent, "pool": "gpus-us-east", "delta": 1, "reason": "needed" })),
            3 if random.below(3) == 0 => ("/eval/retrain", json!({ "modelFamily": format!("m{at}") })),
            3 | 4 => {
                let Ok(waiting) = server.try_send("GET", "/alloc/requests?status=pending&limit=1", &[], "") else { return };
                ("/alloc/approve", json!({ "requestId": waiting.json()["requests"][0]["id"] }))
            }
            _ => {
                let timestamp = format!("2025-01-{:02}T{:02}:{:02}:00Z", 1 + at / 400, at / 20 % 20, random.below(60));
                let metrics = json!({ "x": random.below(1_001) as f64 / 1e3, "y": 0.9 });
                let division = format!("division-{}", random.below(3));
                (
                    "/eval/submit",
                    json!({ "agentId": agent, "divisionId": division, "metrics": metrics, "source": "s", "timestamp": timestamp }),
                )
            }
        };
        if server.try_send("POST", path, &[], &body.to_string()).is_err() {
            return;
        }
    }
}

fn loaded(server: &Client, seed: u64, most: u64) {
    let calls = &AtomicU64::new(0);
    std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || load(server, seed + thread, calls, most)))));
}

fn remove_tables(directory: &Directory) {
    std::fs::remove_dir_all(directory.data().join("read-models")).expect("they are there");
}

#[test]
fn tables_that_were_deleted_answer_as_they_did() {
    let directory = Directory::new(Profile::Default);
    let server = Server::start(&directory);
    loaded(&server, 1, 400);
    let before = everything(&server);
    for list in ["/trace/", "/eval/jobs/", "/eval/agent/agent-", "/alloc/0", "/eval/scoreboard?topK=1000&divisionId="] {
        assert!(before.keys().filter(|path| path.starts_with(list)).count() > 2, "few of {list}");
    }
    server.stop();
    let server = Server::start(&directory);
    assert_same("behind a clean stop", &before, &everything(&server));
    server.stop();
    remove_tables(&directory);
    let server = Server::start(&directory);
    assert_same("folded anew", &before, &everything(&server));
    server.stop();
    directory.is_whole();
}

#[test]
fn tables_of_a_process_that_was_killed_answer_as_those_folded_anew() {
    let directory = Directory::new(Profile::Default);
    for seed in 0..3 {
        let server = Server::start(&directory);
        let calls = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let (killed, server, calls) = (&server, &*server, &calls);
            (0..4).for_each(|thread| drop(scope.spawn(move || load(server, 10 * seed + thread, calls, u64::MAX))));
            while calls.load(Relaxed) < 150 {
                std::thread::yield_now();
            }
            killed.kill_under_load();
        });
        drop(server);
        let server = Server::start(&directory);
        let killed = everything(&server);
        server.stop();
        remove_tables(&directory);
        let server = Server::start(&directory);
        assert_same("folded anew", &killed, &everything(&server));
        server.stop();
    }
    directory.is_whole();
}

/// A log that was put back to an earlier state, with the tables of a later one.
#[test]
fn tables_that_are_ahead_of_their_log_are_folded_anew() {
    let directory = Directory::new(Profile::Default);
    let server = Server::start(&directory);
    loaded(&server, 2, 100);
    let before = everything(&server);
    server.stop();
    let earlier = directory.copy();
    let server = Server::start(&directory);
    loaded(&server, 3, 100);
    assert_ne!(everything(&server), before);
    server.stop();
    copy_folder(&directory.data().join("read-models"), &earlier.data().join("read-models"));
    let server = Server::start(&earlier);
    assert_same("put back", &before, &everything(&server));
    server.stop();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new folder");
    for file in std::fs::read_dir(from).expect("a folder").flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a file can be copied");
    }
}

/// What an import wrote is served as what came by HTTP.
#[test]
fn the_services_answer_from_a_log_that_was_imported() {
    let directory = example();
    let server = Server::start(&directory);
    let board = server.get("/eval/scoreboard?topK=1000").is(200);
    assert_eq!(board["entries"].as_array().map(Vec::len), Some(79), "the trace has 79 models");
    let applied = server.get("/alloc/requests?status=applied&limit=1000").is(200);
    assert!(applied["requests"].as_array().is_some_and(|requests| !requests.is_empty()), "{applied:#}");
    server.stop();
    directory.is_whole();
}

/// Every row of some tables.
fn rows(tables: &Tables) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let each = |key: &[u8], row: &[u8]| {
        rows.push((key.to_vec(), row.to_vec()));
        ControlFlow::Continue(())
    };
    tables.under(&[], None, Direction::Forward, each).expect("readable");
    rows
}

/// The log in batches whose lengths, and the order of whose partitions, are drawn.
fn batches(store: &Store, layout: &Layout, random: &mut Random) -> Vec<Batches> {
    let mut ends: Vec<(u64, u64)> =
        layout.partitions.iter().map(|partition| (store.start(partition), store.end(partition).expect("readable"))).collect();
    let mut all = Vec::new();
    while ends.iter().any(|(next, end)| next < end) {
        let mut one = Batches::new();
        for (at, (next, end)) in ends.iter_mut().enumerate() {
            let count = (*end - *next).min([0, 1, 40, 4_000][random.below(4) as usize]);
            let mut body = Vec::new();
            let mut records = store.read(&layout.partitions[at], *next);
            for _ in 0..count {
                records.next().expect("readable").expect("it is within the log").1.put(&mut body);
            }
            if count > 0 {
                one.push((at, *next, count as u32, body));
            }
            *next += count;
        }
        all.push(one);
    }
    all
}

/// The tables of a log.
fn folded(store: &Store, layout: &Arc<Layout>, path: &Path) -> Fold {
    let fold = Fold::open(store, layout, path, |_, _| ControlFlow::Continue(()));
    fold.expect("folds").expect("nothing breaks it off")
}

#[test]
fn a_fold_that_is_broken_off_goes_on_where_it_was() {
    let directory = example();
    let layout = Arc::new(Layout::new(&dump::topology(&directory.topology), &registered()));
    let store = Store::open_to_read(&directory.data()).expect("a log");
    let path = directory.file("broken-off");
    let (mut left, mut openings) = (u64::MAX, 0);
    let fold = loop {
        let mut turns = 0;
        let fold = Fold::open(&store, &layout, &path, |done, of| {
            turns += 1;
            if turns == 1 {
                assert!(of < left, "{of} of {left} records are folded once more");
                left = of;
            }
            if done == 0 || done == of { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        openings += 1;
        if let Some(fold) = fold.expect("folds") {
            break fold;
        }
    };
    assert!(openings > 3, "{openings} openings");
    assert_eq!(rows(fold.tables()), rows(folded(&store, &layout, &directory.file("at-once")).tables()));
}

#[test]
fn a_fold_batch_by_batch_is_a_fold_at_once() {
    let directory = example();
    let layout = Arc::new(Layout::new(&dump::topology(&directory.topology), &registered()));
    let store = Store::open_to_read(&directory.data()).expect("a log");
    let at_once = folded(&store, &layout, &directory.file("at-once"));
    let expected = rows(at_once.tables());
    assert!(expected.len() > 10_000, "{} rows prove little", expected.len());
    // The log of the same configuration before anything came.
    let begun = with_pools(Profile::Example);
    let empty = Store::open_to_read(&begun.data()).expect("a log");
    for seed in 0..3 {
        let mut fold = folded(&empty, &layout, &directory.file(&format!("by-batch-{seed}")));
        for batch in batches(&store, &layout, &mut Random::new(seed)) {
            fold.take(&batch).expect("folds");
        }
        let found = rows(fold.tables());
        let differing = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert!(differing.is_none() && found.len() == expected.len(), "seed {seed}: {differing:?}");
    }
}
