//! `docs/kafka.md`: its tables are those of the code, every name in it is one, and its commands do what it says.

use merit::code::ERRORS;
use merit::registry::registered;
use merit_gateway::ops::metrics::ALL;
use merit_runtime::kafka::settings::{self, LEAST_DAYS};
use merit_runtime::kafka::topics::{Kept, Topics};
use merit_runtime::kafka::watch::{LOOKS, SURE};
use merit_runtime::kafka::worker::{SAID_AFTER, SAID_ENOUGH};
use merit_runtime::kafka::{Access, Cluster, Role};
use merit_runtime::layout::Layout;
use merit_tests::kafka::Kafka;
use merit_tests::process::{HANG, program};
use merit_tests::{dump, repository, text, write};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

const PAGE: &str = "docs/kafka.md";

fn cluster() -> Cluster {
    Cluster { brokers: "HOST:PORT".into(), application: "merit".into(), access: Access::default() }
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let rows = rows.into_iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    line(head) + &line(&vec!["---"; head.len()]) + &rows.collect::<String>()
}

fn topics() -> String {
    let layout = Layout::new(&dump::topology(&repository("topology.toml")), &registered());
    let kept = |kept| match kept {
        Kept::Log => "for ever, or as long as its `retention` says",
        Kept::Compacted => "the last of each row: state",
        Kept::Briefly => "for an hour: answers to calls",
    };
    let wanted = Topics::new(&cluster(), &layout).wanted();
    let rows = wanted.iter().map(|topic| vec![format!("`{}`", topic.name), topic.partitions.to_string(), kept(topic.kept).into()]);
    table(&["topic", "partitions", "kept"], rows)
}

fn settings_of_topics() -> String {
    let mut names = BTreeMap::<&str, [String; 3]>::new();
    for (column, kept) in [Kept::Log, Kept::Compacted, Kept::Briefly].into_iter().enumerate() {
        let required = settings::required(kept, None, 3).into_iter().map(|(name, value)| (name, format!("`{value}`")));
        let initial = settings::initial(kept).into_iter().map(|(name, value)| (name, format!("`{value}` when made")));
        for (name, value) in required.chain(initial) {
            names.entry(name).or_default()[column] = value;
        }
    }
    let rows = names.into_iter().map(|(name, values)| [vec![format!("`{name}`")], values.to_vec()].concat());
    table(&["setting", "log", "changelogs", "`answers`"], rows)
}

/// What a role asks of librdkafka, but for what names it.
fn asked(role: Role<'_>) -> BTreeMap<String, String> {
    let config = cluster().config(role);
    let named = ["bootstrap.servers", "client.id", "group.id", "group.instance.id", "transactional.id"];
    let settings = config.config_map().into_iter().filter(|(name, _)| !named.contains(name));
    settings.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn clients() -> String {
    let roles = [
        ("every client", Role::Admin),
        ("who reads", Role::Reader),
        ("the member of the group", Role::Member("")),
        ("who writes transactions", Role::Transactional("")),
        ("who sends commands", Role::Commands),
        ("`log import`", Role::Restore),
    ];
    let every = asked(Role::Admin);
    let rows = roles.into_iter().flat_map(|(who, role)| {
        let is_own = matches!(role, Role::Admin);
        let own = asked(role).into_iter().filter(|(name, _)| is_own || !every.contains_key(name)).collect::<Vec<_>>();
        own.into_iter().map(move |(name, value)| vec![who.to_owned(), format!("`{name}`"), format!("`{value}`")])
    });
    table(&["client", "setting", "value"], rows)
}

fn timeouts() -> String {
    let asked_of = |role, name: &str| {
        let millis: u64 = asked(role)[name].parse().expect("milliseconds");
        format!("{} s", millis / 1_000)
    };
    let rows = [
        ("without a sign of life a copy's tasks go to others (`session.timeout.ms`)", asked_of(Role::Member(""), "session.timeout.ms")),
        (
            "an open transaction is given up by the brokers (`transaction.timeout.ms`)",
            asked_of(Role::Transactional(""), "transaction.timeout.ms"),
        ),
        (
            "a record that was not delivered aborts its transaction (`message.timeout.ms`)",
            asked_of(Role::Transactional(""), "message.timeout.ms"),
        ),
        ("a command that was not delivered is told to have failed", asked_of(Role::Commands, "message.timeout.ms")),
        ("without progress a copy says what it waits for, and as often again", format!("{} s", SAID_AFTER.as_secs())),
        ("without any a copy ends, to be started again", format!("{} min", (SAID_AFTER * SAID_ENOUGH).as_secs() / 60)),
        (
            "a topic that was deleted, made anew or re-partitioned ends a copy",
            format!("{} to {} s", LOOKS.as_secs() * u64::from(SURE - 1), LOOKS.as_secs() * u64::from(SURE)),
        ),
        ("the least `retention` that a topic may have", format!("{LEAST_DAYS} days")),
    ];
    table(&["what happens", "after"], rows.map(|(what, after)| vec![what.to_owned(), after]))
}

fn page_with_tables(page: &str) -> String {
    let mut page = page.to_owned();
    for (name, table) in [("topics", topics()), ("settings", settings_of_topics()), ("timeouts", timeouts()), ("clients", clients())] {
        let begin = format!("<!-- generated: {name} -->\n");
        let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} has no marker of {name}"));
        let (_, after) = rest.split_once("<!-- end -->").expect("a marker of the end");
        page = format!("{before}{begin}{table}<!-- end -->{after}");
    }
    page
}

#[test]
fn the_tables_of_the_guide_are_those_of_the_code() {
    let path = repository(PAGE);
    let page = text(&path);
    let generated = page_with_tables(&page);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        write(&path, &generated);
    } else {
        assert_eq!(page, generated, "run the tests with UPDATE_EXPECT=1 to write the tables anew");
    }
}

/// Words in backticks.
fn quoted(page: &str) -> BTreeSet<&str> {
    page.split('\n').filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_code_event_and_metric_of_the_guide_is_one_and_no_code_of_a_cluster_is_left_out() {
    let page = text(&repository(PAGE));
    let quoted = quoted(&page);
    let codes: BTreeSet<&str> = ERRORS.iter().flat_map(|section| section.codes).map(|code| code.name).collect();
    let of_cluster = |name: &str| name.starts_with("cluster_");
    let told: BTreeSet<&str> = quoted.iter().copied().filter(|word| of_cluster(word)).collect();
    assert_eq!(told, codes.iter().copied().filter(|name| of_cluster(name)).collect());
    for other in
        ["config_mismatch", "retention_short", "kafka_config", "store_failed", "store_damaged", "log_differs", "upgrade_needs_clean_stop"]
    {
        assert!(quoted.contains(other) && codes.contains(other), "{other}");
    }
    for name in quoted.iter().filter(|word| word.starts_with("merit_")).filter_map(|word| word.split('{').next()) {
        assert!(ALL.iter().any(|metric| metric.name == name), "there is no metric {name}");
    }

    // What a copy says is the last literal of a line with `info!` or `warn!`.
    let source = text(&repository("crates/merit/src/run/copy.rs"));
    let calls = source.lines().filter(|line| line.contains("info!(") || line.contains("warn!("));
    let said: BTreeSet<&str> = calls.filter_map(|line| line.rsplit('"').nth(1)).collect();
    let events = page.split_once("| it says | that is |\n|---|---|\n").and_then(|(_, rest)| rest.split("\n\n").next()).expect("events");
    let told: BTreeSet<&str> = events.lines().filter_map(|line| line.split('`').nth(1)).collect();
    assert!(said.len() > 5, "{said:?}");
    let missing: Vec<&&str> = said.difference(&told).collect();
    assert!(missing.is_empty() && told.is_subset(&said), "of the code {said:?}, of the guide {told:?}");
}

/// A command block of the guide, and the lines that it shows of what that prints.
struct Block {
    commands: String,
    shown: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut parts = page.split("```");
    let mut before = parts.next().unwrap_or_default();
    while let (Some(fenced), Some(after)) = (parts.next(), parts.next()) {
        if let Some(commands) = fenced.strip_prefix("sh\n") {
            blocks.push(Block { commands: commands.into(), shown: Vec::new() });
        } else if let (Some(shown), Some(block), "\n") = (fenced.strip_prefix("text\n"), blocks.last_mut(), before) {
            block.shown = shown.lines().map(str::to_owned).collect();
        }
        before = after;
    }
    blocks
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    let (kafka, other) = (Kafka::start(1), Kafka::start(1));
    let blocks = blocks(&text(&repository(PAGE)));
    assert!(blocks.len() > 6, "{} blocks", blocks.len());
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    std::fs::copy(repository("topology.toml"), folder.path().join("topology.toml")).expect("a file");
    let ports = [("8050", "MERIT_OPS_ADDR"), ("8051", "EVAL_ENGINE_ADDR"), ("8052", "RESOURCE_ALLOCATOR_ADDR")];
    let ports = ports.map(|(shown, variable)| (format!("127.0.0.1:{shown}"), variable, format!("127.0.0.1:{}", free_port())));
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for (number, block) in blocks.iter().enumerate() {
        let placed = block.commands.replace("HOST:PORT", kafka.bootstrap()).replace("OTHER:PORT", other.bootstrap());
        let placed = ports.iter().fold(placed, |text, (shown, _, own)| text.replace(shown, own));
        writeln!(script, "echo '=== block {number}'\n{placed}").expect("a text");
    }
    script.push_str("echo '=== end'\n");
    let path = std::env::join_paths(
        program().parent().map(Into::into).into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").expect("a path"))),
    );
    let mut command = Command::new("timeout");
    command.args([&HANG.as_secs().to_string(), "bash", "-c", &script]).current_dir(folder.path()).env("PATH", path.expect("paths"));
    command.envs(ports.iter().map(|(_, variable, own)| (variable, own)));
    // Its copies may outlive a script that failed by a moment, so nobody waits for their end of a pipe.
    let said = folder.path().join("said");
    let file = std::fs::File::create(&said).expect("a file");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file);
    let status = command.status().expect("it can be run");
    let said = text(&said);
    let logs = || ["copy-1.log", "copy-2.log"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default()).join("\n");
    assert!(status.success(), "{status}: {said}\n{}", logs());
    for (number, block) in blocks.iter().enumerate() {
        let printed = said.split_once(&format!("=== block {number}\n")).and_then(|(_, rest)| rest.split("=== ").next()).expect("it ran");
        for line in &block.shown {
            assert!(printed.contains(line), "block {number} does not print {line:?}: {printed}");
        }
    }
}
