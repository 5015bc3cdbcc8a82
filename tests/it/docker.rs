//! `docker/`, which no test can run: each file is read, and compared with the scripts, the code and the built program.

use merit_gateway::ops::metrics::{ALL, Metric};
use merit_gateway::ops::operations;
use merit_runtime::kafka::Access;
use merit_tests::directory::{Directory, Profile};
use merit_tests::process::{merit, program};
use merit_tests::{repository, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Settings of a broker that differ from those of the script, since it lies behind a published port and keeps its data elsewhere.
const OF_CONTAINERS: [&str; 4] = ["advertised.listeners", "controller.quorum.voters", "listeners", "log.dirs"];

/// Package of the image that brings a shared library; none where every image has it.
const LIBRARIES: [(&str, Option<&str>); 8] = [
    ("libstdc++.so.6", Some("libstdc++6")),
    ("libssl.so.3", Some("libssl3")),
    ("libcrypto.so.3", Some("libssl3")),
    ("libz.so.1", Some("zlib1g")),
    // A dependency of libstdc++6.
    ("libgcc_s.so.1", None),
    ("libm.so.6", None),
    ("libc.so.6", None),
    ("linux-vdso.so.1", None),
];

fn file(path: &str) -> String {
    text(&repository("docker").join(path))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&file(path)).unwrap_or_else(|error| panic!("docker/{path}: {error}"))
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap_or_else(|| panic!("no text: {item}"))).collect()
}

/// The arguments of each line of the Dockerfile that begins with an instruction, in order; lines that go on are joined.
fn instructions(name: &str) -> Vec<String> {
    let joined = file("Dockerfile").replace("\\\n", " ");
    joined.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned).collect()
}

/// The services that run a command of Merit, with its arguments.
fn commands(compose: &Value) -> Vec<(&str, Vec<&str>)> {
    let of_merit = members(&compose["services"]).filter(|(_, service)| service["image"] == "merit" && service["entrypoint"].is_null());
    of_merit.map(|(name, service)| (name.as_str(), texts(&service["command"]))).collect()
}

/// The copies, by the address of their operations.
fn copies(compose: &Value) -> BTreeMap<&str, &str> {
    let copies = commands(compose).into_iter().filter(|(_, command)| command.first() == Some(&"run"));
    let operations = |name: &str| compose["services"][name]["environment"]["MERIT_OPS_ADDR"].as_str().unwrap_or(default_operations());
    copies.map(|(name, _)| (operations(name), name)).collect()
}

/// Where the operations are by default.
fn default_operations() -> &'static str {
    let default = "127.0.0.1:8050";
    assert!(text(&repository("crates/merit/src/run/services.rs")).contains(&format!("address(\"MERIT_OPS_ADDR\", \"{default}\")")));
    default
}

#[test]
fn the_image_is_built_by_the_scripts_and_runs_without_rights() {
    let manifest: String = text(&repository("Cargo.toml"));
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).expect("it says so").trim_end_matches('"');
    let [build, run] = <[String; 2]>::try_from(instructions("FROM")).expect("two stages");
    let debian = build.strip_prefix(&format!("rust:{rust}-")).and_then(|rest| rest.strip_suffix(" AS build"));
    assert_eq!(Some(run.as_str()), debian.map(|name| format!("debian:{name}-slim")).as_deref(), "{build}");

    let [build, packages] = <[String; 2]>::try_from(instructions("RUN")).expect("one a stage");
    assert!(build.contains(". scripts/env.sh") && build.contains("cargo build --locked --release -p merit"), "{build}");
    let cache = instructions("ENV").join(" ");
    assert!(cache.contains("MERIT_CACHE=/cache") && text(&repository("scripts/system.sh")).contains("MERIT_CACHE"), "{cache}");
    let user: u32 = instructions("USER").last().expect("a user").parse().expect("a number, which a kubelet can tell from root");
    assert!(user > 0 && packages.contains(&format!("--uid {user}")));
    for volume in serde_json::from_str::<Vec<String>>(&instructions("VOLUME")[0]).expect("JSON") {
        assert!(packages.contains(&volume), "{volume} is not made with its owner");
    }

    let linked = Command::new("ldd").arg(program()).output().expect("every glibc has it");
    for line in String::from_utf8_lossy(&linked.stdout).lines().filter(|line| !line.contains("ld-linux")) {
        let library = line.split_whitespace().next().expect("a name");
        let (_, package) = LIBRARIES.iter().find(|(name, _)| *name == library).unwrap_or_else(|| panic!("which package brings {library}?"));
        assert!(package.is_none_or(|package| packages.split(' ').any(|word| word == package)), "{library} is not in the image");
    }
}

#[test]
fn a_container_is_well_where_the_operations_say_so() {
    let check = instructions("HEALTHCHECK").concat();
    let path = check.rsplit_once('/').map(|(_, path)| format!("/{}", path.trim_end_matches('"'))).expect("a path");
    let live: Vec<&str> = operations().iter().filter(|operation| operation.id == "health").map(|operation| operation.path).collect();
    assert_eq!(live, [path.as_str()]);
    assert!(check.contains(&format!("${{MERIT_OPS_ADDR:-{}}}", default_operations())), "{check}");
}

#[test]
fn the_image_is_not_built_from_what_is_ignored() {
    let ignored = text(&repository(".dockerignore"));
    let ignored: BTreeSet<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    for line in text(&repository(".gitignore")).lines().chain([".git"]) {
        assert!(ignored.contains(line.trim_matches('/')), "{line} goes to the builder");
    }
    let manifest = text(&repository("Cargo.toml"));
    let members = manifest.lines().find(|line| line.starts_with("members")).expect("members");
    for needed in members.split('"').skip(1).step_by(2).chain(["scripts", "schemas", "topology.toml", "pools.toml", "Cargo.lock"]) {
        assert!(!ignored.contains(needed.trim_end_matches("/*")), "{needed} does not go to the builder");
    }
}

#[test]
fn the_broker_is_that_of_the_script() {
    let script = text(&repository("scripts/kafka.sh"));
    let settings = script.split_once("settings() {").and_then(|(_, rest)| rest.split("EOF").nth(1)).expect("the settings of a broker");
    // Listeners are made by a call, and a container has its own.
    let settings = settings.lines().filter(|line| !line.starts_with(['#', '$'])).filter_map(|line| line.split_once('='));
    let of_one = [("$copies", "1"), ("$in_sync", "1"), ("$missed_within", "20000"), ("$((ready_within * 1000))", "120000"), ("$1", "1")];
    let filled = |value: &str| of_one.iter().fold(value.to_owned(), |value, (variable, of_one)| value.replace(variable, of_one));
    let of_script: BTreeMap<String, String> = settings.map(|(name, value)| (name.into(), filled(value))).collect();
    assert!(of_script.len() > 15, "{of_script:?}");

    let compose = yaml("compose.yaml");
    let kafka = &compose["services"]["kafka"];
    let settings = members(&kafka["environment"]).filter(|(name, _)| *name != "KAFKA_HEAP_OPTS");
    let property = |name: &str| name.strip_prefix("KAFKA_").expect("a property").to_lowercase().replace('_', ".");
    let of_container: BTreeMap<String, String> =
        settings.map(|(name, value)| (property(name), value.as_str().expect("a text: a number is another name").into())).collect();
    let without = |settings: &BTreeMap<String, String>| {
        let kept = settings.iter().filter(|(name, _)| !OF_CONTAINERS.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(without(&of_script), without(&of_container));
    for name in OF_CONTAINERS {
        assert!(of_container.contains_key(name), "{name}");
    }
    let kept = format!("kafka:{}", of_container["log.dirs"]);
    assert_eq!(texts(&kafka["volumes"]), [kept.as_str()]);
}

#[test]
fn every_version_is_pinned_and_the_one_of_the_scripts() {
    let compose = yaml("compose.yaml");
    let images: BTreeMap<&str, &str> =
        members(&compose["services"]).filter_map(|(_, service)| service["image"].as_str()?.split_once(':')).collect();
    assert_eq!(images.len(), 4, "{images:?}");
    for (image, version) in &images {
        assert!(version.split('.').count() == 3 && version.contains(|digit: char| digit.is_ascii_digit()), "{image}:{version}");
    }
    let pinned = |path: &str, tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let of = |text: &str| Some(text.split_once(&open)?.1.split_once(&close)?.0.to_owned());
        std::fs::read_to_string(repository(path)).ok().and_then(|text| of(&text))
    };
    assert_eq!(pinned("scripts/kafka/pom.xml", "kafka.version").as_deref(), Some(images["apache/kafka"]));
}

#[test]
fn every_command_is_one_that_the_program_takes() {
    let compose = yaml("compose.yaml");
    let commands = commands(&compose);
    assert_eq!(commands.len(), 3, "{commands:?}");
    for (service, command) in &commands {
        // What stands before --help is read first.
        let done = merit(command).with(["--help"]).run();
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{service}: {command:?}");
        assert_eq!(merit(command).with(["--no-such", "--help"]).run().code, Some(2), "so an option that is none is refused");
    }
    let directory = Directory::new(Profile::Default);
    let variables = commands.iter().flat_map(|(service, _)| members(&compose["services"][*service]["environment"]));
    let variables: BTreeSet<&String> = variables.map(|(name, _)| name).collect();
    assert_eq!(variables.len(), 3);
    for name in variables {
        directory.call(["run"]).env(name, "nowhere").run().refused(2, "environment_invalid");
    }
    Access::read(&repository("docker/kafka.properties")).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn strangers_reach_loopback_of_the_host_alone_and_merit_not_at_all() {
    let compose = yaml("compose.yaml");
    let published = texts(&compose["services"]["network"]["ports"]);
    let copies = copies(&compose);
    for port in &published {
        let [host, outside, inside] = <[&str; 3]>::try_from(port.split(':').collect::<Vec<_>>()).expect("HOST:PORT:PORT");
        assert_eq!((host, outside), ("127.0.0.1", inside), "{port}");
        assert!(!matches!(inside.parse::<u16>(), Ok(8050..=8079)), "{port} is Merit's, which has no TLS");
    }
    for (name, service) in members(&compose["services"]).filter(|(name, _)| *name != "network") {
        assert_eq!(service["network_mode"], "service:network", "{name}");
        assert!(service["ports"].is_null(), "{name}");
    }
    for (name, service) in members(&compose["services"]).filter(|(_, service)| service["image"] == "merit") {
        assert_eq!((&service["read_only"], &texts(&service["cap_drop"])[..]), (&Value::Bool(true), &["ALL"][..]), "{name}");
    }
    let environment = |service: &str, name: &str| compose["services"][service]["environment"][name].as_str().expect("said").to_owned();
    let broker = environment("kafka", "KAFKA_ADVERTISED_LISTENERS").replace("PLAINTEXT://", "");
    let registry = format!("127.0.0.1:{}", environment("registry", "QUARKUS_HTTP_PORT"));
    let access = Access::read(&repository("docker/kafka.properties")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(access.get("schema.registry.url"), Some(format!("http://{registry}/apis/ccompat/v7").as_str()));
    let source = yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"][0].clone();
    let prometheus = source["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("an address").to_owned();
    let reached: BTreeSet<String> = [broker.clone(), registry, prometheus, "127.0.0.1:3000".into()].into();
    assert_eq!(published.iter().map(|port| port.rsplit_once(':').expect("a port").0.to_owned()).collect::<BTreeSet<_>>(), reached);
    assert_eq!(environment("registry", "APICURIO_KAFKASQL_BOOTSTRAP_SERVERS"), broker);
    for (service, command) in commands(&compose) {
        assert!(command.windows(2).any(|pair| pair == ["--kafka", broker.as_str()]), "{service}: {command:?}");
    }
    let scraped = yaml("prometheus/prometheus.yml");
    let targets: BTreeSet<&str> = texts(&scraped["scrape_configs"][0]["static_configs"][0]["targets"]).into_iter().collect();
    assert_eq!((targets, copies.len()), (copies.keys().copied().collect(), 2));
}

#[test]
fn every_file_and_volume_that_is_mounted_is_there() {
    let compose = yaml("compose.yaml");
    let mounts = members(&compose["services"]).flat_map(|(_, service)| texts(&service["volumes"]));
    for mount in mounts {
        let from = mount.split(':').next().expect("a source");
        let is_there =
            if from.starts_with('.') { repository("docker").join(from).exists() } else { compose["volumes"].get(from).is_some() };
        assert!(is_there, "{mount}");
    }
    let boards = yaml("grafana/provisioning/dashboards/merit.yaml")["providers"][0]["options"]["path"].clone();
    let mounted = format!("./grafana/dashboards:{}:ro", boards.as_str().expect("a path"));
    assert!(texts(&compose["services"]["grafana"]["volumes"]).contains(&mounted.as_str()));
    let home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str().expect("a board");
    assert!(repository("docker/grafana/dashboards").join(home.rsplit_once('/').expect("a path").1).exists());
    for rules in texts(&yaml("prometheus/prometheus.yml")["rule_files"]) {
        assert!(repository("docker/prometheus").join(rules).exists(), "{rules}");
    }
}

/// Metrics of Merit that a PromQL expression names, each one that there is.
fn metrics_of(expression: &str) -> Vec<&'static Metric> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names = words.filter(|word| word.starts_with("merit_") || word.starts_with("process_"));
    let known = |name: &str| {
        let series = |metric: &&&Metric| ["", "_bucket", "_sum", "_count"].iter().any(|end| name == format!("{}{end}", metric.name));
        *ALL.iter().find(series).unwrap_or_else(|| panic!("there is no {name}: {expression}"))
    };
    names.map(known).collect()
}

fn check_expression(expression: &str) {
    let metrics = metrics_of(expression);
    assert!(!metrics.is_empty() || expression.contains("up{"), "{expression}");
    let labels: BTreeSet<&str> = metrics.iter().flat_map(|metric| metric.labels).map(|(name, _)| *name).collect();
    for grouped in expression.split("by (").skip(1).filter_map(|rest| rest.split(')').next()) {
        for label in grouped.split(", ") {
            assert!(labels.contains(label) || ["le", "job", "instance"].contains(&label), "{label} is no label: {expression}");
        }
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let board: Value = serde_json::from_str(&file("grafana/dashboards/merit.json")).expect("JSON");
    let source = yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]["uid"].clone();
    let mut shown = BTreeSet::new();
    for panel in board["panels"].as_array().expect("panels") {
        assert_eq!(panel["datasource"]["uid"], source, "{}", panel["title"]);
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("an expression");
            check_expression(expression);
            shown.extend(metrics_of(expression).into_iter().map(|metric| metric.name));
        }
    }
    assert!(shown.len() > 15, "{shown:?}");
    let alerts = yaml("prometheus/alerts.yml");
    let rules = alerts["groups"][0]["rules"].as_array().expect("rules");
    assert!(rules.len() > 5);
    for rule in rules {
        check_expression(rule["expr"].as_str().expect("an expression"));
        assert!(rule["annotations"]["summary"].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
    }
}
