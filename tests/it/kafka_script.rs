//! `scripts/kafka.sh`, and the harness that starts brokers by it.

use merit_tests::kafka::{Kafka, running, script, shared};
use merit_tests::process::wait_until;
use merit_tests::{text, write};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// With this variable, a file, a test is the process that will be killed.
const HOLDS: &str = "MERIT_TEST_HOLDS_A_BROKER";

/// Some of Kafka's own tools.
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

#[test]
fn one_broker_keeps_its_records_through_kill_and_stop() {
    let kafka = Kafka::start(1);
    let first = running(kafka.folder(), 1).expect("it runs");

    let status = kafka.script("status", &[]);
    assert_eq!(status.code, Some(0), "{status:#?}");
    let line =
        format!("broker 1  {}  pid {}  running\nbootstrap.servers={}\n", kafka.bootstrap(), first.as_raw_nonzero(), kafka.bootstrap());
    assert_eq!(status.out, line);

    let again = kafka.script("start", &[]);
    assert_eq!((again.code, again.out), (Some(0), format!("1 broker already running\nbootstrap.servers={}\n", kafka.bootstrap())));
    assert_eq!(running(kafka.folder(), 1), Some(first));

    let other = kafka.script("start", &["--brokers", "3"]);
    assert_eq!(other.code, Some(2), "{other:#?}");
    assert!(other.err.contains("holds a cluster of 1"), "{other:#?}");

    kafka.tool(TOPICS, &["--create", "--topic", "kept", "--partitions", "1"], "");
    kafka.tool(PRODUCER, &["--topic", "kept"], "one\ntwo\n");
    kafka.kill(1);
    let status = kafka.script("status", &[]);
    assert_eq!((status.code, status.out), (Some(1), format!("broker 1  {}  not running\n", kafka.bootstrap())));
    kafka.restart(1);
    assert_ne!(running(kafka.folder(), 1), Some(first));
    let read = ["--topic", "kept", "--from-beginning", "--max-messages", "2", "--timeout-ms", "60000"];
    assert_eq!(kafka.tool(CONSUMER, &read, ""), "one\ntwo\n");

    let stop = kafka.script("stop", &[]);
    assert_eq!((stop.code, stop.out.as_str()), (Some(0), "1 broker stopped\n"));
    assert_eq!(running(kafka.folder(), 1), None);
    let stop = kafka.script("stop", &[]);
    assert_eq!((stop.code, stop.out.as_str()), (Some(0), "no broker running\n"));
}

#[test]
fn of_three_brokers_the_missing_one_is_started() {
    let kafka = Kafka::start(3);
    assert_eq!(kafka.bootstrap().split(',').count(), 3);
    let before = [1, 2, 3].map(|broker| running(kafka.folder(), broker).expect("it runs"));

    kafka.pause(1);
    kafka.resume(1);
    kafka.kill(2);
    let status = kafka.script("status", &[]);
    assert_eq!(status.code, Some(1), "{status:#?}");
    let missing: Vec<&str> = status.out.lines().filter(|line| line.ends_with("not running")).collect();
    assert!(matches!(missing.as_slice(), [line] if line.starts_with("broker 2 ")), "{status:#?}");

    kafka.restart(2);
    let status = kafka.script("status", &[]);
    assert_eq!(status.code, Some(0), "{status:#?}");
    let after = [1, 2, 3].map(|broker| running(kafka.folder(), broker).expect("it runs"));
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert_ne!(after[1], before[1]);
}

#[test]
fn a_port_that_another_process_has_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let place = ["--dir".as_ref(), folder.path().as_os_str()];

    let done = script(["start".as_ref(), "--port".as_ref(), port.as_ref()].into_iter().chain(place));
    assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{done:#?}");
    assert!(done.err.contains(&format!("port {port} is taken by another process")), "{done:#?}");
    assert!(done.err.contains("--port"), "{done:#?}");

    let done = script(["status".as_ref()].into_iter().chain(place));
    assert_eq!(done.code, Some(1), "{done:#?}");
    assert!(done.out.contains("no broker was ever started"), "{done:#?}");
}

#[test]
fn brokers_end_with_the_process_that_started_them() {
    if let Some(file) = std::env::var_os(HOLDS) {
        return hold(Path::new(&file));
    }
    let told = tempfile::tempdir().expect("a folder for temporary files");
    let file = told.path().join("folder");
    let mut command = Command::new(std::env::current_exe().expect("a running test has a path"));
    command.args(["--exact", "kafka_script::brokers_end_with_the_process_that_started_them"]).env(HOLDS, &file);
    let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the tests can be run");
    wait_until("a broker of another process", || {
        assert!(holder.try_wait().is_ok_and(|end| end.is_none()), "the process that starts it ended");
        file.exists()
    });
    let folder = PathBuf::from(text(&file));
    let broker = running(&folder, 1).expect("it was ready").as_raw_nonzero();
    holder.kill().expect("our own child");
    assert_eq!(holder.wait().expect("our own child").signal(), Some(9), "it ended by itself");

    // A process that nobody has waited for has no command line any more.
    let command_line = PathBuf::from(format!("/proc/{broker}/cmdline"));
    wait_until("the end of the broker", || std::fs::read(&command_line).unwrap_or_default().is_empty());
    wait_until("the end of its folder", || !folder.exists());
}

/// Starts the shared broker, tells its folder, and waits to be killed; the end of the other process ends it too.
fn hold(file: &Path) {
    let kafka = shared();
    assert!(running(kafka.folder(), 1).is_some());
    let part = file.with_extension("part");
    write(&part, kafka.folder().as_os_str().as_encoded_bytes());
    std::fs::rename(&part, file).expect("a file of our own");
    let _ = std::io::stdin().read(&mut [0]);
}
