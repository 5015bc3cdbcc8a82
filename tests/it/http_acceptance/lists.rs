//! Lists, boards and histories against oracles that the test computes itself.

use super::{approval, ended, requested, served};
use merit_tests::random::Random;
use merit_tests::server::Server;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Every entry of a list, page by page.
fn walk(server: &Server, path: &str, list: &str, limit: usize) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("{path}{}limit={limit}{cursor}", if path.contains('?') { '&' } else { '?' })).is(200);
        let found = page[list].as_array().unwrap_or_else(|| panic!("no {list} in {page:#}"));
        assert!(found.len() <= limit, "{} entries on a page of {limit}", found.len());
        entries.extend(found.iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return entries,
        }
    }
}

fn ids(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["id"].as_str().expect("an id")).collect()
}

fn report(agent: &str, division: &str, thousandths: u64, timestamp: &str) -> Value {
    let value = thousandths as f64 / 1e3;
    json!({ "agentId": agent, "divisionId": division, "metrics": { "x": value }, "source": "s", "timestamp": timestamp })
}

#[test]
fn every_page_of_a_list_gives_what_is_left_once_and_the_newest_first() {
    let (directory, server) = served();
    let opened: Vec<Value> = (0..23).map(|at| requested(&server, &format!("agent-{}", at % 3), "gpus-us-east", 1)).collect();
    opened.iter().take(5).for_each(|id| drop(server.post("/alloc/approve", &approval(id)).is(200)));
    let newest_first: Vec<&str> = opened.iter().rev().map(|id| id.as_str().expect("an id")).collect();
    for limit in [1, 4, 23, 1_000] {
        assert_eq!(ids(&walk(&server, "/alloc/requests", "requests", limit)), newest_first, "{limit} a page");
    }
    let of = |filter: &str, wanted: &dyn Fn(usize) -> bool| {
        let found = walk(&server, &format!("/alloc/requests?{filter}"), "requests", 2);
        let expected: Vec<&str> = (0..23).rev().filter(|at| wanted(*at)).map(|at| opened[at].as_str().expect("an id")).collect();
        assert_eq!(ids(&found), expected, "{filter}");
    };
    of("agentId=agent-1", &|at| at % 3 == 1);
    of("status=applied", &|at| at < 5);
    of("status=pending&agentId=agent-0", &|at| at >= 5 && at % 3 == 0);
    of("pool=gpus-us-east", &|_| true);
    of("pool=nowhere", &|_| false);

    for at in 0..9 {
        let body = json!({ "agentId": format!("agent-{}", at % 2), "rationale": format!("{at}"), "requestedBy": "ops",
            "action": if at % 3 == 0 { "demote" } else { "promote" } });
        server.post("/eval/submit", &report(&format!("agent-{}", at % 2), "d", 100, &format!("2025-01-17T18:{at:02}:00Z"))).is(200);
        server.post("/eval/promote", &body).is(201);
    }
    let by_hand = |entry: &&Value| entry["window"] == "manual";
    let said = |path: &str| {
        walk(&server, path, "promotions", 2).iter().filter(by_hand).map(|entry| entry["rationale"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(said("/eval/promotions"), ["8", "7", "6", "5", "4", "3", "2", "1", "0"]);
    assert_eq!(said("/eval/promotions?action=demote"), ["6", "3", "0"]);
    assert_eq!(said("/eval/promotions?agentId=agent-1"), ["7", "5", "3", "1"]);

    let queue = |family: &str| server.post("/eval/retrain", &json!({ "modelFamily": family })).is(201);
    let queued = ["a", "b", "c", "d", "e"].map(queue);
    let newest_first: Vec<&Value> = queued.iter().rev().collect();
    for limit in [1, 2, 5] {
        assert_eq!(walk(&server, "/eval/jobs", "jobs", limit).iter().collect::<Vec<_>>(), newest_first, "{limit} a page");
    }
    ended(&directory, server);
}

/// What comes while a list is walked moves no entry of the pages behind.
#[test]
fn a_cursor_holds_while_the_list_grows() {
    let (directory, server) = served();
    let opened: Vec<Value> = (0..4).map(|_| requested(&server, "a", "gpus-us-east", 1)).collect();
    let first = server.get("/alloc/requests?limit=2").is(200);
    requested(&server, "a", "gpus-us-east", 1);
    let next = server.get(&format!("/alloc/requests?limit=2&cursor={}", first["nextCursor"].as_str().expect("there is more"))).is(200);
    assert_eq!(ids(next["requests"].as_array().expect("a list")), [&opened[1], &opened[0]].map(|id| id.as_str().expect("an id")));
    assert_eq!(next.get("nextCursor"), None);
    ended(&directory, server);
}

/// The oracle: each agent's last report alone lies in its hour, so its score is that report's value, to two decimals.
#[test]
fn the_scoreboard_is_a_total_order_with_ties_by_id() {
    let (directory, server) = served();
    let mut random = Random::new(5);
    let mut last: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for round in 0..3 {
        for agent in 0..40 {
            let (name, division) = (format!("agent-{agent:02}"), format!("division-{}", random.below(3)));
            let thousandths = random.below(12) * 10;
            server
                .post("/eval/submit", &report(&name, &division, thousandths, &format!("2025-01-17T{:02}:30:00Z", 10 + 2 * round)))
                .is(200);
            last.insert(name, (division, thousandths));
        }
    }
    let mut scores = BTreeSet::new();
    for division in [None, Some("division-0"), Some("division-1"), Some("division-2"), Some("nobody")] {
        let mut expected: Vec<(&str, u64)> = last
            .iter()
            .filter(|(_, (of, _))| division.is_none_or(|division| division == of))
            .map(|(name, (_, score))| (name.as_str(), *score))
            .collect();
        expected.sort_by(|(left, a), (right, b)| b.cmp(a).then(left.cmp(right)));
        scores.extend(expected.iter().map(|(_, score)| *score));
        for top in [1, 7, 1_000] {
            let filter = division.map_or(String::new(), |division| format!("&divisionId={division}"));
            let board = server.get(&format!("/eval/scoreboard?topK={top}{filter}")).is(200);
            let entries = board["entries"].as_array().expect("a board");
            let found: Vec<(u64, &str, f64)> = entries
                .iter()
                .map(|entry| {
                    let (rank, agent) = (entry["rank"].as_u64().expect("a rank"), entry["agentId"].as_str().expect("an agent"));
                    (rank, agent, entry["score"].as_f64().expect("a score"))
                })
                .collect();
            let expected: Vec<(u64, &str, f64)> =
                expected.iter().take(top).zip(1..).map(|((agent, score), rank)| (rank, *agent, *score as f64 / 1e3)).collect();
            assert_eq!(found, expected, "top {top} of {division:?}");
        }
    }
    assert!(scores.len() < 40, "no two agents tie");
    assert_eq!(server.get("/eval/scoreboard").is(200)["entries"].as_array().map(Vec::len), Some(10), "ten where nothing else is said");
    ended(&directory, server);
}

/// The oracle: the mean of the reports of an hour or a day up to each minute's last report.
#[test]
fn a_history_tells_the_score_of_each_minute_from_and_to() {
    let (directory, server) = served();
    // Minutes behind 10:00, values in thousandths; two reports fall into one minute.
    let reports = [(0, 100), (30, 300), (30, 500), (59, 900), (61, 100), (200, 700)];
    for (minute, value) in reports {
        let timestamp = format!("2025-01-17T{:02}:{:02}:10Z", 10 + minute / 60, minute % 60);
        server.post("/eval/submit", &report("a", "d", value, &timestamp)).is(200);
    }
    let mean = |last: usize, width: i32| {
        let (minute, _) = reports[last];
        let within: Vec<u64> = reports[..=last].iter().filter(|(other, _)| *other > minute - width).map(|(_, value)| *value).collect();
        ((within.iter().sum::<u64>() as f64 / within.len() as f64 / 10.0).round() / 100.0, within.len())
    };
    let ask = |query: &str| -> Vec<(String, f64, usize)> {
        let entries = walk(&server, &format!("/eval/agent/a/score?{query}"), "history", 2);
        let entry = |entry: &Value| {
            let (time, n) = (entry["timestamp"].as_str().expect("a time"), entry["n"].as_u64().expect("a count"));
            (time[11..16].to_owned(), entry["score"].as_f64().expect("a score"), n as usize)
        };
        entries.iter().map(entry).collect()
    };
    let expected = |lasts: &[usize], width: i32| -> Vec<(String, f64, usize)> {
        let one = |last: &usize| {
            let (minute, _) = reports[*last];
            let (score, n) = mean(*last, width);
            (format!("{:02}:{:02}", 10 + minute / 60, minute % 60), score, n)
        };
        lasts.iter().map(one).collect()
    };
    let (hour, day) = (60, 24 * 60);
    let rows: [(&str, &[usize], i32); 7] = [
        ("from=2025-01-17T00:00:00Z", &[0, 2, 3, 4, 5], hour),
        ("window=24h&from=2025-01-17T00:00:00Z", &[0, 2, 3, 4, 5], day),
        ("from=2025-01-17T10:30:00Z&to=2025-01-17T11:01:10Z", &[2, 3, 4], hour),
        ("to=2025-01-17T10:30:10Z", &[0, 2], hour),
        ("from=2025-01-17T10:30:11Z&to=2025-01-17T11:01:09Z", &[3], hour),
        ("from=2025-01-17T12:30:00%2B01:00&to=2025-01-17T12:02:00%2B01:00", &[], hour),
        ("from=2025-01-17T14:00:00Z", &[], hour),
    ];
    for (query, lasts, width) in rows {
        assert_eq!(ask(query), expected(lasts, width), "{query}");
    }
    server.get("/eval/agent/a/score?from=yesterday").refused(400, "parameter_invalid");
    assert_eq!(server.get("/eval/agent/a/score").is(200).get("history"), None, "who asks for no time gets the score alone");
    ended(&directory, server);
}
