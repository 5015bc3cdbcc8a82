//! Who is let in by a cluster, and may do what there. One broker for the file.

use merit_core::EventTime;
use merit_tests::copies::{Application, Copy, Sent};
use merit_tests::directory::{Directory, Profile, example};
use merit_tests::front;
use merit_tests::kafka::Kafka;
use merit_tests::process::{Done, HANG, merit};
use merit_tests::{repository, text, write};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How soon at the latest a command says that it is not let in, however busy the machine is; alone it takes less than 10 s.
const SOON: Duration = Duration::from_secs(30);

/// Reports of the real trace that are sent.
const REPORTS: usize = 1_000;

/// Tools of Kafka.
const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

fn kafka() -> &'static Kafka {
    static SHARED: LazyLock<Kafka> = LazyLock::new(Kafka::start_secure);
    &SHARED
}

/// Files of a test that say how the cluster is reached, beside certificates of another authority.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Files {
        let files = Files { folder: TempDir::with_prefix("merit-it-").expect("a temporary directory") };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        files.openssl(&format!("openssl req -x509 {key} -keyout other.key -out other.pem -subj /CN=other"));
        let sign = |by: &str, days: i32, name: &str| {
            let request = format!("openssl req {key} -keyout {name}.key -subj /CN=admin");
            files.openssl(&format!(
                "{request} | openssl x509 -req -CA {by}.pem -CAkey {by}.key -CAcreateserial -days {days} -out {name}.pem"
            ));
        };
        sign("other", 1, "unknown");
        for file in ["ca.pem", "ca.key"] {
            std::fs::copy(kafka().folder().join("tls").join(file), files.path(file)).expect("made by the script");
        }
        sign("ca", -1, "expired");
        files
    }

    fn openssl(&self, line: &str) {
        let done = Command::new("bash").args(["-o", "pipefail", "-c", line]).current_dir(self.folder.path()).output().expect("a shell");
        assert!(done.status.success(), "{line}: {done:?}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a user shows, with some of its values replaced or, where there is none, left out.
    fn config(&self, name: &str, user: &str, changes: &[(&str, Option<String>)]) -> PathBuf {
        let of = text(&kafka().client(user));
        let mut values: BTreeMap<&str, &str> = of.lines().filter_map(|line| line.split_once('=')).collect();
        for (name, value) in changes {
            match value {
                Some(value) => values.insert(name, value),
                None => values.remove(name),
            };
        }
        let path = self.path(&format!("{name}.properties"));
        write(&path, values.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our own file");
        path
    }
}

/// A case: what the file says, which port, and the code and a word of the refusal; none where there is none.
type Case<'c> = (&'c str, PathBuf, String, Option<(i32, &'static str, &'static str)>);

/// What is tried before anything is applied.
static TRIED: LazyLock<()> = LazyLock::new(|| {
    try_brokers();
    try_registry();
});

#[test]
fn who_is_not_let_in_is_told_why() {
    LazyLock::force(&TRIED);
}

fn try_brokers() {
    let files = Files::new();
    let path = |name: &str| Some(files.path(name).display().to_string());
    let certificate =
        |name: &str| [("ssl.certificate.location", path(&format!("{name}.pem"))), ("ssl.key.location", path(&format!("{name}.key")))];
    let no_certificate = [("ssl.certificate.location", None), ("ssl.key.location", None)];
    write(&files.path("others.key"), text(&files.path("unknown.key")));
    std::fs::set_permissions(files.path("others.key"), PermissionsExt::from_mode(0o644)).expect("our own file");
    write(&files.path("closed.key"), text(&files.path("unknown.key")));
    std::fs::set_permissions(files.path("closed.key"), PermissionsExt::from_mode(0o000)).expect("our own file");
    let (tls, login) = (kafka().bootstrap().to_owned(), kafka().login().to_owned());
    let by_name = tls.replace("127.0.0.1", "localhost");
    let config = |name, user, changes: &[_]| files.config(name, user, changes);
    let encryption = |word| Some((1, "cluster_encryption", word));
    let wrong = |word| Some((2, "kafka_config", word));
    let cases: Vec<Case<'_>> = vec![
        ("certificate", kafka().client("admin"), tls.clone(), None),
        ("password", kafka().client("admin.scram"), login.clone(), None),
        ("no certificate", config("none", "admin", &no_certificate), tls.clone(), encryption("certificate")),
        ("a certificate of others", config("unknown", "admin", &certificate("unknown")), tls.clone(), encryption("certificate")),
        ("an old certificate", config("expired", "admin", &certificate("expired")), tls.clone(), encryption("certificate")),
        ("other authority", config("other", "admin", &[("ssl.ca.location", path("other.pem"))]), tls.clone(), encryption("certificate")),
        ("other host name", config("name", "admin", &[]), by_name, encryption("certificate")),
        (
            "no encryption",
            config(
                "plain",
                "admin",
                &[no_certificate[0].clone(), no_certificate[1].clone(), ("security.protocol", None), ("ssl.ca.location", None)],
            ),
            tls.clone(),
            encryption("security.protocol"),
        ),
        ("a key that is none", config("torn", "admin", &[("ssl.key.location", path("unknown.key"))]), tls.clone(), encryption("key")),
        (
            "wrong password",
            config("wrong", "admin.scram", &[("sasl.password", Some("hunter2".into()))]),
            login.clone(),
            Some((1, "cluster_login", "uthentication")),
        ),
        (
            "unknown user",
            config("user", "admin.scram", &[("sasl.username", Some("nobody".into()))]),
            login,
            Some((1, "cluster_login", "uthentication")),
        ),
        ("no key", config("missing", "admin", &[("ssl.key.location", path("missing.key"))]), tls.clone(), wrong("No such file")),
        ("a closed key", config("closed", "admin", &[("ssl.key.location", path("closed.key"))]), tls.clone(), wrong("denied")),
        ("a key of all", config("all", "admin", &[("ssl.key.location", path("others.key"))]), tls, wrong("chmod 600")),
    ];
    files.try_each(&cases);
}

/// Lines of a file: what is said of the registry, without the prefix, and the value.
type Lines = Vec<(&'static str, String)>;

/// What a registry asks for whose front wants a certificate and a password.
fn shown(pem: &Path, key: &Path, password: &str) -> Lines {
    let location = |path: &Path| path.display().to_string();
    let login = ("basic.auth.user.info", format!("merit:{password}"));
    vec![("ssl.certificate.location", location(pem)), ("ssl.key.location", location(key)), login]
}

fn authority(pem: &Path) -> Lines {
    vec![("ssl.ca.location", pem.display().to_string())]
}

fn in_tls(name: &str) -> PathBuf {
    kafka().folder().join("tls").join(name)
}

/// Before the registry; the header is base64 of `merit:let-me-in`.
fn before_registry() -> String {
    front::start(kafka().registry(), &kafka().folder().join("tls"), "Basic bWVyaXQ6bGV0LW1lLWlu")
}

/// By encryption, a certificate and a password.
fn try_registry() {
    let files = Files::new();
    let (direct, front) = (kafka().registry(), before_registry());
    let failed = |word| Some((1, "registry_failed", word));
    let trusted = || authority(&in_tls("ca.pem"));
    let right = |password| shown(&in_tls("operator.pem"), &in_tls("operator.key"), password);
    let without = |lines: Lines, name: &str| lines.into_iter().filter(|(of, _)| !of.starts_with(name)).collect::<Lines>();
    let others = shown(&files.path("unknown.pem"), &files.path("unknown.key"), "let-me-in");
    let case = |case: &'static str, url: &str, lines: Vec<Lines>, refusal| {
        let config = files.with_registry(case, "admin", url, &lines.concat());
        (case, config, kafka().bootstrap().to_owned(), refusal)
    };
    files.try_each(&[
        case("authority", direct, vec![trusted()], None),
        case("no authority", direct, vec![], failed("certificate")),
        case("other authority", direct, vec![authority(&files.path("other.pem"))], failed("certificate")),
        case("no encryption", &direct.replace("https", "http"), vec![], failed("registry")),
        case("certificate and password", &front, vec![trusted(), right("let-me-in")], None),
        case("no certificate", &front, vec![trusted(), without(right("let-me-in"), "ssl.")], failed("registry")),
        case("a certificate of others", &front, vec![trusted(), others], failed("registry")),
        case("no password", &front, vec![trusted(), without(right(""), "basic.")], failed("401")),
        case("wrong password", &front, vec![trusted(), right("hunter2")], failed("401")),
    ]);
}

impl Files {
    /// What a user shows to brokers, and these lines of a registry.
    fn with_registry(&self, name: &str, user: &str, url: &str, lines: &[(&str, String)]) -> PathBuf {
        let config = self.config(name, user, &[]);
        let lines: String = lines.iter().map(|(name, value)| format!("schema.registry.{name}={value}\n")).collect();
        write(&config, format!("{}schema.registry.url={url}\n{lines}", text(&config)));
        config
    }

    /// Tries to reach the cluster in each way, and looks at what is told.
    fn try_each(&self, cases: &[Case<'_>]) {
        let key = self.path("audit.key");
        let apply = |config: &Path, brokers: &str| {
            let call = merit(["topology", "apply", "--json", "--dry-run", "--kafka", brokers, "--kafka-config"]).with([config]);
            let begun = Instant::now();
            let done = call.with(["--audit-key"]).with([&key]).unprivileged().run();
            (done, begun.elapsed())
        };
        let done: Vec<(Done, Duration)> = std::thread::scope(|scope| {
            let runs: Vec<_> = cases.iter().map(|(_, config, brokers, _)| scope.spawn(|| apply(config, brokers))).collect();
            runs.into_iter().map(|run| run.join().expect("it runs")).collect()
        });
        for ((case, _, _, refusal), (done, took)) in cases.iter().zip(done) {
            match refusal {
                None => assert_eq!(done.code, Some(0), "{case}: {done:#?}"),
                Some((exit, code, word)) => {
                    done.refused(*exit, code);
                    assert!(done.err.contains(word), "{case}: {done:#?}");
                    assert!(took < SOON, "{case}: {took:?}");
                }
            }
            assert!(!done.err.contains("hunter2"), "{case}: {done:#?}");
        }
    }
}

/// Runs what `merit topology acl` prints, as its head says.
fn apply_acls(directory: &Directory) {
    let tools = TempDir::with_prefix("merit-it-").expect("a temporary directory");
    let tool = tools.path().join("kafka-acls.sh");
    let jars = kafka().folder().join("jars/*");
    write(&tool, format!("exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '{}' {ACLS} \"$@\"\n", jars.display()));
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o700)).expect("our own file");
    let printed = merit(["topology", "acl", "--topology"]).with([&directory.topology]).ok().out;
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").expect("a path"));
    std::thread::scope(|scope| {
        for line in printed.lines().filter(|line| line.starts_with("kafka-acls.sh ")) {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).env("PATH", &path).env("BROKERS", kafka().bootstrap()).env("ADMIN", kafka().client("admin.java"));
            scope.spawn(move || {
                let done = shell.output().expect("a shell");
                assert!(done.status.success(), "{line}: {done:?}");
            });
        }
    });
}

/// What became of records, by topic.
#[derive(Default)]
struct Written(Mutex<BTreeMap<String, Option<RDKafkaErrorCode>>>);

impl ClientContext for Written {}

impl ProducerContext for Written {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let (topic, error) = match result {
            Ok(message) => (message.topic(), None),
            Err((error, message)) => (message.topic(), error.rdkafka_error_code()),
        };
        self.0.lock().expect("no other panicked").insert(topic.into(), error);
    }
}

/// Tries to write into each of these topics; gives those that took it.
fn written(mut config: ClientConfig, topics: &[String]) -> Vec<String> {
    let producer: BaseProducer<Written> =
        config.set("message.timeout.ms", "60000").create_with_context(Written::default()).expect("a producer");
    for topic in topics {
        producer.send(BaseRecord::to(topic).key("").payload("")).map_err(|(error, _)| error).expect("there is room");
    }
    producer.flush(HANG).expect("each is decided");
    let written = producer.context().0.lock().expect("no other panicked");
    assert_eq!(written.len(), topics.len());
    for (topic, error) in &*written {
        assert!(matches!(error, None | Some(RDKafkaErrorCode::TopicAuthorizationFailed)), "{topic}: {error:?}");
    }
    written.iter().filter(|(_, error)| error.is_none()).map(|(topic, _)| topic.clone()).collect()
}

/// Takes something from the copies for good.
fn deny(operation: &str, kind: &str, name: &str) {
    kafka().tool(ACLS, &["--add", "--deny-principal", "User:copy", "--operation", operation, &format!("--{kind}"), name], "");
}

fn told(done: &Done, resource: &str) {
    done.refused(1, "cluster_forbidden");
    let failure = done.failure();
    assert!(failure["error"].as_str().is_some_and(|error| error.contains(resource)), "{resource}: {done:#?}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("merit topology acl")), "{done:#?}");
}

#[test]
fn each_role_does_its_work_with_its_acls_and_nothing_else() {
    LazyLock::force(&TRIED);
    let application = Application::secure(kafka(), Directory::new(Profile::Default));
    // Nobody may do anything before.
    told(&application.apply().run(), "topic");
    apply_acls(&application.directory);
    let lines = [authority(&in_tls("ca.pem")), shown(&in_tls("operator.pem"), &in_tls("operator.key"), "let-me-in")].concat();
    let files = Files::new();
    let applied =
        application.apply_by(vec!["--kafka-config".into(), files.with_registry("registry", "operator", &before_registry(), &lines)]);
    let applied = applied.ok().json();
    assert!(applied["registered"].as_array().is_some_and(|subjects| subjects.len() > 50), "{applied}");
    let pools = merit(["pools", "apply", "--json", "--kafka", kafka().bootstrap(), "--topology"]).with([&application.directory.topology]);
    pools.with(application.by("operator")).with([repository("examples/pools.toml")]).ok();

    // One shows a certificate, the other a password.
    let copies = [application.copy("a"), Copy::of(application.run_by(kafka().login(), "copy.scram", "b"))];
    let inputs = application.inputs(&example());
    let (reports, others): (Vec<_>, Vec<_>) = inputs.into_iter().partition(|sent| sent.is_report());
    application.send_by("producer", &reports[..REPORTS], Duration::ZERO);
    // Behind them, since the ticks of the trace end its windows.
    application.send(&others, Duration::ZERO);
    application.wait_drained();
    copies.into_iter().for_each(|copy| drop(copy.stop()));
    let exported = application.export();
    exported.is_whole();
    assert!(exported.inputs() > REPORTS as u64);
    read_what_is_published(&application);

    let all = application.topics();
    let inputs = ["alloc.requests", "audit.intake", "eval.aggregates", "eval.reports"];
    for (user, allowed) in [("producer", &inputs[3..]), ("reader", &[]), ("auditor", &[]), ("operator", &inputs)] {
        // What is allowed would stop copies here, being no record.
        let refused: Vec<String> = all.iter().filter(|topic| !allowed.contains(&topic.as_str())).cloned().collect();
        assert_eq!(refused.len() + allowed.len(), all.len(), "{user}");
        assert_eq!(written(application.config(user), &refused), Vec::<String>::new(), "{user}");
    }

    a_copy_whose_password_is_withdrawn_says_so(&application);
    a_copy_that_lacks_an_acl_says_which(&application, &reports[REPORTS..][..10]);
    // Last, since it spoils the log.
    let logs: Vec<String> =
        all.into_iter().filter(|topic| topic.starts_with("eval.") || topic.starts_with("a")).filter(|topic| topic != "answers").collect();
    assert_eq!(written(application.config("restorer"), &logs), logs);
}

fn read_what_is_published(application: &Application) {
    let mut config = application.config("reader");
    let reader: BaseConsumer =
        config.set("group.id", "merit-reader-of-a-team").set("auto.offset.reset", "earliest").create().expect("a consumer");
    reader.subscribe(&["alloc.applied", "eval.scores"]).expect("names of topics");
    let (begun, mut missing) = (Instant::now(), vec!["alloc.applied", "eval.scores"]);
    while !missing.is_empty() {
        assert!(begun.elapsed() < HANG, "nothing comes of {missing:?}");
        if let Some(message) = reader.poll(Duration::from_millis(100)) {
            let message = message.expect("a record");
            missing.retain(|topic| *topic != message.topic());
        }
    }
}

fn a_copy_whose_password_is_withdrawn_says_so(application: &Application) {
    let copy = Copy::of(application.run_by(kafka().login(), "copy.scram", "b"));
    application.send(&application.ticks(EventTime(1_800_000_000_000)), Duration::ZERO);
    application.wait_drained();
    kafka().tool(CONFIGS, &["--alter", "--delete-config", "SCRAM-SHA-256", "--entity-type", "users", "--entity-name", "copy"], "");
    // The broker asks again within five seconds; a copy that waits says so every five.
    std::thread::sleep(Duration::from_secs(12));
    let done = copy.killed();
    assert!(done.err.contains("does not let the user of --kafka-config in"), "{done:#?}");
    assert!(done.err.lines().count() < 1_000, "{} lines", done.err.lines().count());
}

fn a_copy_that_lacks_an_acl_says_which(application: &Application, late: &[Sent]) {
    let copy = application.copy("a");
    application.send(&application.ticks(EventTime(1_800_000_060_000)), Duration::ZERO);
    application.wait_drained();
    deny("Write", "topic", "eval.late");
    application.send_by("producer", late, Duration::ZERO);
    told(&copy.end(), "topic eval.late");
    // Each is met before the ones that were denied before.
    for (operation, kind, name) in [
        ("Read", "group", "merit"),
        ("Read", "topic", "audit.intake"),
        ("DescribeConfigs", "topic", "eval.late"),
        ("Describe", "topic", "eval.promotions"),
    ] {
        deny(operation, kind, name);
        let begun = Instant::now();
        told(&application.run("a").run(), &format!("{kind} {name}"));
        assert!(begun.elapsed() < 2 * SOON, "{name}: {:?}", begun.elapsed());
    }
}

#[test]
fn acls_are_told_to_machines_too() {
    let lines = merit(["topology", "acl", "--json"]).ok().lines();
    let writers = lines.iter().filter(|grant| {
        let has = |name: &str, value: &str| grant[name].as_array().is_some_and(|values| values.contains(&Value::from(value)));
        has("operations", "Write") && has("names", "audit")
    });
    assert_eq!(writers.map(|grant| &grant["principal"]).collect::<Vec<_>>(), ["User:copy", "User:restorer"]);
}
