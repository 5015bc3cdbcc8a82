//! A schema registry beside the brokers: what is registered, what other programs' schemas become, and a registry that is away, held,
//! or lies.

use merit_core::record::{EvalReport, Metric};
use merit_core::{Datum, EventTime, Fixed, Key, List};
use merit_tests::copies::Application;
use merit_tests::directory::{Directory, Profile};
use merit_tests::kafka::Kafka;
use merit_tests::process::{HANG, wait_until};
use merit_tests::repository;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

const SUBJECT: &str = "eval.reports-merit.EvalReport";
const PARTITIONS: u32 = 4;

/// An answer of the registry: status and document.
fn ask(kafka: &Kafka, path: &str, body: Option<&Value>) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}{path}", kafka.registry());
    let answer = match body {
        None => agent.get(&url).call(),
        Some(body) => agent.post(&url).header("Content-Type", "application/json").send(body.to_string()),
    };
    let mut answer = answer.expect("the registry answers");
    let text = answer.body_mut().read_to_string().expect("a text");
    (answer.status().as_u16(), serde_json::from_str(&text).expect("JSON"))
}

/// The schema of a report with some more fields; gives the answer of the registry.
fn register(kafka: &Kafka, fields: &[Value]) -> (u16, Value) {
    let mut schema: Value = serde_json::from_str(&merit_tests::text(&repository("schemas/EvalReport.avsc"))).expect("a schema");
    schema["fields"].as_array_mut().expect("fields").extend(fields.iter().cloned());
    ask(kafka, &format!("/subjects/{SUBJECT}/versions"), Some(&json!({ "schema": schema.to_string() })))
}

/// Registers a schema that reads and writes an optional field more; gives its id.
fn newer(kafka: &Kafka, fields: &[&str]) -> u32 {
    let field = |name: &&str| json!({ "name": name, "type": ["null", "string"], "default": null });
    let (status, answer) = register(kafka, &fields.iter().map(field).collect::<Vec<_>>());
    assert_eq!(status, 200, "{answer}");
    answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id")
}

/// A report of an agent, written with the schema of that id, which has so many optional fields more.
fn message(id: u32, agent: &str, number: i64, more: usize) -> Vec<u8> {
    let metrics = [Metric { name: "successRate", value: Fixed(930_000) }];
    let name = format!("{agent}-{number}");
    let report = EvalReport {
        id: Some(&name),
        agent_id: agent,
        division_id: None,
        product_id: None,
        metrics: List::Slice(&metrics),
        source: "other",
        timestamp: EventTime(1_750_000_000_000 + number),
        window: None,
        tags: List::EMPTY,
    };
    let mut value = [&[0][..], &id.to_be_bytes()].concat();
    report.put(&mut value);
    value.extend(std::iter::repeat_n(0, more));
    value
}

/// Sends messages as another program would.
fn send(kafka: &Kafka, messages: &[(&str, &[u8])]) {
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", kafka.bootstrap()).create().expect("a producer");
    for (agent, value) in messages {
        let partition = Key::new(agent).partition(PARTITIONS) as i32;
        let record = BaseRecord::to("eval.reports").partition(partition).key(*agent).payload(*value);
        producer.send(record.timestamp(1_750_000_000_500)).map_err(|(error, _)| error).expect("sent");
    }
    producer.flush(HANG).expect("delivered");
}

/// Agents of different partitions.
fn agents() -> [String; 2] {
    let of = |partition| (0..).map(|number| format!("agent-{number}")).find(|agent| Key::new(agent).partition(PARTITIONS) == partition);
    [of(0).expect("one"), of(1).expect("one")]
}

/// A registry that gives every subject the id 1, and under every id a schema that is none of Merit's; ends with the process.
fn liar() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let (mut first, mut length) = (String::new(), 0);
            let _ = reader.read_line(&mut first);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) < 3 {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
            }
            let _ = reader.read_exact(&mut vec![0; length]);
            let body = if first.starts_with("GET") { r#"{"schema":"\"string\""}"# } else { r#"{"id":1}"# };
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        }
    });
    url
}

#[test]
fn schemas_are_registered_looked_up_and_waited_for() {
    let kafka = Kafka::start_with_registry();
    let application = Application::with_registry(&kafka, Directory::new(Profile::Default));
    let subjects = || ask(&kafka, "/subjects", None).1.as_array().expect("a list").len();

    let told = application.apply().with(["--dry-run"]).ok().json();
    let count = told["registered"].as_array().expect("a list").len();
    assert!(count > 50 && told["registered"].as_array().expect("a list").contains(&json!(SUBJECT)), "{told}");
    assert_eq!(subjects(), 0, "a dry run registers nothing");
    assert_eq!(application.apply().ok().json()["registered"], told["registered"]);
    assert_eq!(subjects(), count);
    assert_eq!(application.apply().ok().json()["registered"], json!([]));
    assert_eq!(ask(&kafka, &format!("/config/{SUBJECT}"), None).1["compatibilityLevel"], "BACKWARD_TRANSITIVE");
    let (status, answer) = register(&kafka, &[json!({ "name": "must", "type": "string" })]);
    assert_eq!((status, answer["error_code"].as_u64()), (409, Some(409)), "{answer}");

    // Schemas of other programs, one unknown, one of something else, and JSON.
    let [first, second] = agents();
    let own = newer(&kafka, &[]);
    let (two, three) = (newer(&kafka, &["a"]), newer(&kafka, &["a", "b"]));
    let tick = ask(&kafka, "/subjects/eval.reports-merit.Tick/versions/latest", None).1["id"].as_u64().expect("an id") as u32;
    let json = format!(r#"{{"agentId":"{first}","metrics":{{"successRate":0.5}},"source":"json","timestamp":"2025-06-15T15:06:40Z"}}"#);
    let unknown = message(4_711, &first, 3, 0);
    let of_other = message(tick, &first, 4, 0);
    let longer = [&message(two, &first, 5, 1)[..], &[0]].concat();
    let sent: [(&str, &[u8]); 8] = [
        (&first, &message(own, &first, 1, 0)),
        (&first, &message(two, &first, 2, 1)),
        (&first, json.as_bytes()),
        (&first, &unknown),
        (&first, &of_other),
        (&first, &longer),
        (&first, br#"{"agentId":"x"}"#),
        (&first, b"nonsense"),
    ];
    send(&kafka, &sent);
    let copy = application.copy("a");
    wait_until("what other programs sent is not taken", || application.committed("eval.reports", 0) >= 9);
    application.wait_consumed();

    // Held, it stops the partition that needs it, and no other.
    kafka.pause_registry();
    let before = [0, 1].map(|partition| application.committed("eval.reports", partition));
    send(
        &kafka,
        &[(&first, &message(three, &first, 6, 2)), (&first, &message(own, &first, 7, 0)), (&second, &message(own, &second, 8, 0))],
    );
    wait_until("the other partition goes on", || application.committed("eval.reports", 1) > before[1]);
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(application.committed("eval.reports", 0), before[0], "it waits for the schema");
    kafka.resume_registry();
    wait_until("the partition goes on", || application.committed("eval.reports", 0) >= before[0] + 2);
    let done = copy.stop();
    let waits = format!("eval.reports/0 waits at offset {} for schema {three}", before[0]);
    assert!(done.err.contains(&waits), "{}", done.err);

    // Away, it stops no copy that has seen it, and one that has not does not start.
    kafka.kill_registry();
    send(&kafka, &[(&first, &message(three, &first, 9, 2))]);
    let copy = application.copy("a");
    wait_until("the copy goes on by what it knows", || application.committed("eval.reports", 0) >= before[0] + 3);
    application.run("new").run().refused(1, "registry_failed");
    copy.stop();
    kafka.restart_registry();

    let exported = application.export();
    let rules: Vec<Value> = exported.records("eval.rejected").iter().map(|record| record["value"]["rule"].clone()).collect();
    let expected = ["schema_unknown", "schema_unknown", "schema_invalid", "metrics_missing", "schema_invalid"];
    assert_eq!(rules, expected, "{:#?}", exported.records("eval.rejected"));
    assert_eq!(exported.records("eval.scores").len(), 3 + 4);
    exported.is_whole();

    // It lies: to a new copy, and to one that has seen the truth.
    let lies = application.config_of(&liar());
    let application = application.reached_by(lies);
    application.run("new").run().refused(1, "schema_differs");
    application.copy("a").end().refused(1, "schema_differs");
}
