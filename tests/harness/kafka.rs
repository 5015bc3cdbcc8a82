//! A real Apache Kafka, by `scripts/kafka.sh`, for as long as a test runs.

use crate::process::{Done, wait_until};
use crate::repository;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ends the brokers of the folder `$1` by the script `$0` once standard input ends, whatever ended the process at its other end.
const WATCH: &str = r#"trap '' HUP INT TERM; read -r _; "$0" stop --dir "$1"; rm -rf "$1""#;

/// Ports of a cluster: three brokers, their controllers, three for those who log in, a registry.
const PORTS: u16 = 10;

/// Where the ports are looked for. The system takes ports from 32768 on for connections that go out; below, a broker that was killed
/// finds its own free again.
const FIRST_PORT: u16 = 20_000;
const PORTS_END: u16 = 32_000;

/// A cluster in a folder of its own.
pub struct Kafka {
    folder: PathBuf,
    brokers: u16,
    bootstrap: String,
    registry: Option<String>,
    /// Addresses for those who log in; none where nobody has to.
    login: Option<String>,
    /// Holds the folder until this process lets go of its standard input, by its own end at the latest.
    watcher: Child,
}

/// The one broker that the tests of this process share: each with topics and groups of its own name.
pub fn shared() -> &'static Kafka {
    static SHARED: LazyLock<Kafka> = LazyLock::new(|| Kafka::start(1));
    &SHARED
}

/// Runs `scripts/kafka.sh`. A signal to the tests' process group, as Ctrl-C is, does not end it halfway.
pub fn script<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Done {
    let mut command = Command::new(repository("scripts/kafka.sh"));
    let output = command.args(arguments).stdin(Stdio::null()).process_group(0).output();
    let output = output.unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
    let text = |bytes| String::from_utf8(bytes).expect("the script writes UTF-8");
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Kafka {
    /// Starts 1 or 3 brokers and waits until they are ready.
    pub fn start(brokers: u16) -> Kafka {
        Kafka::start_with(brokers, &[])
    }

    /// One broker and a schema registry.
    pub fn start_with_registry() -> Kafka {
        Kafka::start_with(1, &["--registry"])
    }

    /// The same where everybody has to show who he is, and may do what an ACL allows; the registry shows a certificate alone.
    pub fn start_secure() -> Kafka {
        Kafka::start_with(1, &["--secure", "--registry"])
    }

    fn start_with(brokers: u16, options: &[&str]) -> Kafka {
        let folder = tempfile::Builder::new().prefix("merit-kafka-").tempdir().expect("a folder for temporary files").keep();
        // As the script names it to a broker.
        let folder = folder.canonicalize().expect("our own folder");
        let mut watch = Command::new("bash");
        watch.args(["-c", WATCH]).arg(repository("scripts/kafka.sh")).arg(&folder);
        watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let watcher = watch.spawn().unwrap_or_else(|error| panic!("could not start {watch:?}: {error}"));
        let mut kafka = Kafka { folder, brokers, bootstrap: String::new(), registry: None, login: None, watcher };
        let (brokers, port) = (brokers.to_string(), free_ports().to_string());
        let done = ok(kafka.script("start", &[&["--brokers", &brokers, "--port", &port], options].concat()));
        let told = |name: &str| done.out.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        kafka.bootstrap = told("bootstrap.servers=").unwrap_or_else(|| panic!("no address: {done:#?}"));
        kafka.login = told("sasl.bootstrap.servers=");
        kafka.registry = told("schema.registry.url=");
        kafka
    }

    /// Where its data, logs and pids are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `HOST:PORT` of each broker, as `bootstrap.servers` takes them.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Address of its schema registry.
    pub fn registry(&self) -> &str {
        self.registry.as_deref().expect("it was started with one")
    }

    /// Kills the registry.
    pub fn kill_registry(&self) {
        self.signal_registry(Signal::KILL);
        wait_until("the registry ends", || registry(&self.folder).is_none());
    }

    /// Holds the registry where it is, until [`Kafka::resume_registry`].
    pub fn pause_registry(&self) {
        self.signal_registry(Signal::STOP);
    }

    /// Lets the registry go on.
    pub fn resume_registry(&self) {
        self.signal_registry(Signal::CONT);
    }

    /// Starts the registry that was killed, on its data, and waits until it is ready.
    pub fn restart_registry(&self) {
        ok(self.script("start", &[]));
    }

    fn signal_registry(&self, signal: Signal) {
        let pid = registry(&self.folder).expect("the registry runs");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("could not send {signal:?} to the registry: {error}"));
    }

    /// The same for those who log in by name and password.
    pub fn login(&self) -> &str {
        self.login.as_deref().expect("a secure cluster")
    }

    /// What a user shows there, as `--kafka-config` takes it; `USER.scram` for name and password.
    pub fn client(&self, user: &str) -> PathBuf {
        self.folder.join(format!("clients/{user}.properties"))
    }

    /// Runs `scripts/kafka.sh` on its folder.
    pub fn script(&self, command: &str, arguments: &[&str]) -> Done {
        let call: [&OsStr; 3] = [command.as_ref(), "--dir".as_ref(), self.folder.as_ref()];
        script(call.into_iter().chain(arguments.iter().map(OsStr::new)))
    }

    /// Runs one of Kafka's own tools on it, with this input; gives what it wrote.
    pub fn tool(&self, class: &str, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new("java");
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(self.folder().join("jars/*"));
        command.arg(class).args(["--bootstrap-server", self.bootstrap()]);
        if self.login.is_some() {
            command.arg("--command-config").arg(self.client("admin.java"));
        }
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("Java is installed by the script");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the tool reads");
        let output = child.wait_with_output().expect("a child");
        assert!(output.status.success(), "{class}: {output:?}");
        String::from_utf8(output.stdout).expect("the tools write text")
    }

    /// Kills a broker, the first of which is 1, and waits until nothing of it is left.
    pub fn kill(&self, broker: u16) {
        self.signal(broker, Signal::KILL);
        wait_until(&format!("broker {broker} ends"), || running(&self.folder, broker).is_none());
    }

    /// Holds a broker where it is, until [`Kafka::resume`].
    pub fn pause(&self, broker: u16) {
        self.signal(broker, Signal::STOP);
    }

    /// Lets a broker go on.
    pub fn resume(&self, broker: u16) {
        self.signal(broker, Signal::CONT);
    }

    /// Starts a broker on its data, and every other that was killed; kills it first where it runs. Waits until they are ready.
    pub fn restart(&self, broker: u16) {
        if running(&self.folder, broker).is_some() {
            self.kill(broker);
        }
        ok(self.script("start", &[]));
    }

    fn signal(&self, broker: u16, signal: Signal) {
        let pid = running(&self.folder, broker).unwrap_or_else(|| panic!("broker {broker} does not run"));
        kill_process(pid, signal).unwrap_or_else(|error| panic!("could not send {signal:?} to broker {broker}: {error}"));
    }
}

/// Ends the brokers at once and removes their folder. A test that failed shows the end of their logs.
impl Drop for Kafka {
    fn drop(&mut self) {
        for broker in 1..=self.brokers {
            if std::thread::panicking() {
                show_log(&self.folder, broker);
            }
            if let Some(pid) = running(&self.folder, broker) {
                // It may end by itself in between.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Some(pid) = registry(&self.folder) {
            let _ = kill_process(pid, Signal::KILL);
        }
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Pid of a broker of a folder, if it runs. One that was recorded may be another process's by now: its command line tells.
pub fn running(folder: &Path, broker: u16) -> Option<Pid> {
    let folder = folder.join(format!("broker-{broker}"));
    let pid = std::fs::read_to_string(folder.join("pid")).ok()?;
    let pid = Pid::from_raw(pid.trim().parse().ok()?)?;
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let settings = folder.join("server.properties");
    line.split('\0').any(|word| Path::new(word) == settings).then_some(pid)
}

/// Pid of the registry of a folder, if it runs.
fn registry(folder: &Path) -> Option<Pid> {
    let folder = folder.join("registry");
    let pid = Pid::from_raw(std::fs::read_to_string(folder.join("pid")).ok()?.trim().parse().ok()?)?;
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    line.contains(folder.join("data").to_str()?).then_some(pid)
}

#[expect(clippy::print_stderr, reason = "a test's own output, shown where it failed")]
fn show_log(folder: &Path, broker: u16) {
    let log = std::fs::read_to_string(folder.join(format!("broker-{broker}/log"))).unwrap_or_default();
    let lines: Vec<String> = log.lines().map(|line| line.chars().take(200).collect()).collect();
    eprintln!("end of the log of broker {broker}:\n{}", lines[lines.len().saturating_sub(5)..].join("\n"));
}

fn ok(done: Done) -> Done {
    assert_eq!(done.code, Some(0), "{done:#?}");
    done
}

/// The first of [`PORTS`] in a row that nobody listens on. No two calls of a process get the same.
fn free_ports() -> u16 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let rows = u32::from((PORTS_END - FIRST_PORT) / PORTS);
    // Processes side by side begin far from each other.
    let begin = std::process::id().wrapping_mul(101);
    let first = |_| FIRST_PORT + (begin.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed)) % rows) as u16 * PORTS;
    let is_free = |first: &u16| (*first..first + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    (0..rows).map(first).find(is_free).expect("six free ports in a row")
}
