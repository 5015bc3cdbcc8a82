//! How the services start and end, and what they put in force as they do.

use super::{approval, policies, request, requested, sample, served};
use merit_tests::directory::{Directory, Profile};
use merit_tests::process::merit;
use merit_tests::server::{Server, assert_has};
use merit_tests::write;
use serde_json::{Value, json};

#[test]
fn sigterm_ends_with_0_and_everything_is_there_behind_a_new_start() {
    let (directory, server) = served();
    let submitted = server.post("/eval/submit", &sample()).is(200);
    let id = requested(&server, "agent-9", "gpus-us-east", 1);
    let paths = ["/eval/agent/agent-123/score", "/eval/scoreboard", "/eval/promotions", "/alloc/requests", "/alloc/pools"];
    let before = paths.map(|path| server.get(path).text);
    assert!(before[2].contains(submitted["promotion"]["id"].as_str().expect("promoted")));
    server.stop();
    let server = Server::start(&directory);
    assert_eq!(paths.map(|path| server.get(path).text), before);
    assert_has(&server.post("/alloc/approve", &approval(&id)).is(200), &json!({ "status": "applied" }));
    server.stop();
    directory.is_whole();
}

#[test]
fn who_else_would_write_the_directory_is_refused_by_name() {
    let (directory, server) = served();
    write(&directory.file("pools.toml"), "[[pools]]\nname = \"other\"\ncapacity = 1\n");
    write(&directory.file("reports.jsonl"), sample().to_string());
    directory.serve().run().refused(1, "directory_in_use");
    directory.import([directory.file("reports.jsonl")]).run().refused(1, "directory_in_use");
    directory.call(["pools", "apply"]).with([directory.file("pools.toml")]).run().refused(1, "directory_in_use");
    // Who reads is welcome.
    assert!(!directory.records("alloc.applied").is_empty());
    server.post("/eval/submit", &sample()).is(200);
    server.stop();
    directory.is_whole();
}

#[test]
fn an_address_that_is_not_loopback_refuses_to_start() {
    for (variable, value, code) in [
        ("EVAL_ENGINE_ADDR", "0.0.0.0:0", "not_loopback"),
        ("RESOURCE_ALLOCATOR_ADDR", "[::]:0", "not_loopback"),
        ("EVAL_ENGINE_ADDR", "here", "environment_invalid"),
        ("RESOURCE_ALLOCATOR_MAX_DELTA", "many", "environment_invalid"),
    ] {
        let directory = Directory::new(Profile::Default);
        let done = directory.serve().env(variable, value).run();
        done.refused(2, code);
    }
}

/// A port that is taken already is refused, and names the address.
#[test]
fn an_address_in_use_is_refused_by_name() {
    let (_directory, server) = served();
    let taken = server.evaluation.strip_prefix("http://").expect("an address").to_owned();
    let other = Directory::new(Profile::Default);
    let done = other.serve().env("EVAL_ENGINE_ADDR", &taken).run();
    done.refused(1, "listen");
    assert!(done.err.contains(&taken), "{done:#?}");
}

fn pools(server: &Server) -> Vec<(String, Value)> {
    let pools = server.get("/alloc/pools").is(200);
    let pool = |pool: &Value| (pool["name"].as_str().expect("a name").to_owned(), pool["capacity"].clone());
    pools["pools"].as_array().expect("pools").iter().map(pool).collect()
}

#[test]
fn an_empty_directory_starts_with_the_shipped_pools_and_another_with_its_own() {
    let (directory, server) = served();
    let shipped = vec![("gpus-us-east".to_owned(), json!(10))];
    assert_eq!(pools(&server), shipped);
    server.stop();
    write(&directory.file("pools.toml"), "[[pools]]\nname = \"gpus-us-east\"\ncapacity = 4\n[[pools]]\nname = \"other\"\ncapacity = 1\n");
    directory.pools(&directory.file("pools.toml"));
    let server = Server::start(&directory);
    assert_eq!(pools(&server), [("gpus-us-east".to_owned(), json!(4)), ("other".to_owned(), json!(1))]);
    server.stop();

    let own = Directory::new(Profile::Default);
    write(&own.file("pools.toml"), "[[pools]]\nname = \"mine\"\ncapacity = 2\n");
    own.pools(&own.file("pools.toml"));
    let server = Server::start(&own);
    assert_eq!(pools(&server), [("mine".to_owned(), json!(2))], "the shipped ones are for a ledger without any");
    server.stop();
    directory.is_whole();
}

/// One bundle for each start whose variables are not those in force.
#[test]
fn variables_that_changed_append_one_bundle_and_others_none() {
    let directory = Directory::new(Profile::Default);
    let bundles =
        || directory.records_of("alloc.requests", "PolicyBundle").into_iter().map(|record| record["value"].clone()).collect::<Vec<_>>();
    for (deny, max, expected) in [
        ("", "", 0),
        ("", "", 0),
        ("denied", "2", 1),
        ("denied", "2", 1),
        (" denied,, ", "2", 1),
        ("denied", "3", 2),
        ("", "", 3),
        ("", "", 3),
    ] {
        let server = Server::of(policies(directory.serve(), deny, max));
        let denied = server.post("/alloc/request", &request("a", "denied", 1)).status;
        assert!([201, 404].contains(&denied));
        server.stop();
        assert_eq!(bundles().len(), expected, "{deny:?} {max:?}: {:#?}", bundles());
    }
    let wanted = [(json!(["denied"]), json!(2_000)), (json!(["denied"]), json!(3_000)), (json!([]), Value::Null)];
    let found: Vec<(Value, Value)> = bundles().iter().map(|value| (value["denyPools"].clone(), value["maxDelta"].clone())).collect();
    assert_eq!(found, wanted);
    directory.is_whole();
}

#[test]
fn the_services_say_what_they_are_in_a_document_that_lists_their_paths() {
    let (_directory, server) = served();
    for (base, paths) in [
        (
            &server.evaluation,
            [
                "/eval/submit",
                "/eval/promote",
                "/eval/agent/{id}/score",
                "/eval/scoreboard",
                "/eval/retrain",
                "/eval/jobs",
                "/eval/jobs/{id}",
                "/trace/{id}",
            ],
        ),
        (
            &server.allocation,
            [
                "/alloc/request",
                "/alloc/requests",
                "/alloc/approve",
                "/alloc/reject",
                "/alloc/preempt",
                "/alloc/pools",
                "/alloc/{id}",
                "/trace/{id}",
            ],
        ),
    ] {
        let document = server.get_from(base, "/openapi.json").is(200);
        assert_eq!(document["openapi"], "3.1.0");
        for path in paths {
            assert!(document["paths"].get(path).is_some(), "no {path} in the document of {base}");
        }
        let page = server.get_from(base, "/docs");
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    }
}

#[test]
fn what_is_no_directory_is_refused_by_name() {
    let directory = Directory::new(Profile::Default);
    write(&directory.data(), "a file");
    let done = directory.serve().run();
    assert_eq!(done.code, Some(1), "{done:#?}");
    done.refused(1, "directory_open");
    assert_eq!(merit(["run"]).run().code, Some(2), "a call without a directory is wrong");
}

/// Who was answered has their report in the log; the one that the disk had no room for is told so at once, and the process says why.
#[test]
fn a_full_disk_ends_the_run_and_takes_nothing_that_was_answered() {
    let directory = Directory::new(Profile::Default);
    let server = Server::of(directory.serve().limited("-f 4000"));
    let mut answered = 0;
    let refused = loop {
        let answer = server.send("POST", "/eval/submit", &[], &sample().to_string());
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
    };
    refused.refused(503, "stopped");
    server.end().refused(1, "store_failed");
    let server = Server::start(&directory);
    server.stop();
    assert!(answered > 0 && answered <= directory.records_of("eval.reports", "EvalReport").len(), "{answered} were answered");
    directory.is_whole();
}
