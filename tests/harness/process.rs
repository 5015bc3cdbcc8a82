//! The program as its users run it: a process.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// After so long a call hangs; far more than any takes.
pub const HANG: Duration = Duration::from_secs(300);

/// Waits until something is so, no longer than a hang.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < HANG, "after {HANG:?} not yet: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A field of what Linux tells of a process; none where there is none.
pub(crate) fn status_field(process: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

/// Lines that a failing test shows of each process.
const LAST_LINES: usize = 15;

/// Where the program is: beside the directory of the test binaries.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let built = test.parent().and_then(Path::parent).map(|directory| directory.join("merit")).filter(|path| path.is_file());
    built.unwrap_or_else(|| panic!("the program is not built beside {}: run `cargo build --release --workspace` first", test.display()))
}

/// A call of the program.
pub struct Call {
    command: Command,
    input: Vec<u8>,
}

/// A call of `merit` with these arguments.
pub fn merit<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Call {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Call { command, input: Vec::new() }
}

/// A call that ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

/// A call under way.
pub struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// A call that stands still.
#[must_use = "it goes on when this is dropped"]
pub struct Paused<'a>(&'a Running);

impl Call {
    /// With more arguments.
    pub fn with<S: AsRef<std::ffi::OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Call {
        self.command.args(arguments);
        self
    }

    /// With a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Call {
        self.command.env(name, value);
        self
    }

    /// With bytes on standard input.
    pub fn input(self, bytes: impl Into<Vec<u8>>) -> Call {
        Call { input: bytes.into(), ..self }
    }

    /// Under another program, whose arguments end with this call.
    pub fn under<S: AsRef<std::ffi::OsStr>>(self, program: impl AsRef<std::ffi::OsStr>, arguments: impl IntoIterator<Item = S>) -> Call {
        let mut command = Command::new(program);
        command.args(arguments).arg(self.command.get_program()).args(self.command.get_args());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Call { command, ..self }
    }

    /// Under limits of the shell's `ulimit`, such as `-f 100`. A file that may not grow is an error to it, not a signal.
    pub fn limited(self, limits: &str) -> Call {
        self.under("sh", ["-c", &format!(r#"trap '' XFSZ; ulimit {limits}; exec "$@""#), "sh"])
    }

    /// On a disk that stalls: from that sync of a thread on each takes [`HANG`], until [`Running::relieve`].
    pub fn stalling_from(self, sync: u32) -> Call {
        let stall = format!("inject=fdatasync:delay_enter={}:when={sync}+", HANG.as_micros());
        // By -D the program is the child of the test, and strace nobody's.
        self.under("strace", ["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &stall])
    }

    /// Without what sets root above permissions; who is not root has none of it.
    pub fn unprivileged(self) -> Call {
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if root { self.under("setpriv", ["--inh-caps=-all", "--bounding-set=-all"]) } else { self }
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let input = std::mem::take(&mut self.input);
        let (running, mut stdin) = self.fed();
        // A process that ends before it has read everything closes the pipe: its own business.
        std::thread::spawn(move || stdin.write_all(&input));
        running
    }

    /// Starts it with its standard input in the hands of the test.
    pub fn fed(mut self) -> (Running, ChildStdin) {
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("could not start {:?}: {error}", self.command));
        let stdin = child.stdin.take().expect("piped");
        let out = gather(child.stdout.take().expect("piped"));
        let err = gather(child.stderr.take().expect("piped"));
        (Running { child, out, err }, stdin)
    }

    /// Starts one that goes on until it is told to end, and waits for the first line that it says; the end of one that says none.
    pub fn up(mut self) -> Result<(Running, String), Done> {
        self.command.stdin(Stdio::null());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("could not start {:?}: {error}", self.command));
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let err = gather(child.stderr.take().expect("piped"));
        let mut line = String::new();
        let read = out.read_line(&mut line);
        let running = Running { child, out: gather(out), err };
        match read {
            Ok(1..) => Ok((running, line)),
            Ok(0) | Err(_) => Err(running.end()),
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        self.start().end()
    }

    /// Runs it for a reader that closes its end at once.
    pub fn unread(mut self) -> Done {
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("could not start {:?}: {error}", self.command));
        drop(child.stdout.take());
        let err = gather(child.stderr.take().expect("piped"));
        Running { child, out: channel().1, err }.finish(String::new())
    }

    /// Runs it with its output on a disk that is full.
    pub fn into_full_disk(mut self) -> Done {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let mut child = self.command.stdout(full).spawn().unwrap_or_else(|error| panic!("could not start {:?}: {error}", self.command));
        let err = gather(child.stderr.take().expect("piped"));
        Running { child, out: channel().1, err }.finish(String::new())
    }

    /// Runs it and expects success.
    pub fn ok(self) -> Done {
        let done = self.run();
        assert_eq!(done.code, Some(0), "{done:#?}");
        done
    }
}

fn gather(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came until an error is what there is.
        let _ = from.read_to_end(&mut bytes);
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

impl Running {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends what [`Call::stalling_from`] began.
    pub fn relieve(&self) {
        kill_process(self.tracer().expect("strace is at it"), Signal::KILL).expect("our own process");
    }

    fn tracer(&self) -> Option<Pid> {
        Pid::from_raw(status_field(self.id(), "TracerPid")?.parse().ok()?)
    }

    /// Stops every thread of it, until what is returned is dropped.
    pub fn pause(&self) -> Paused<'_> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).expect("a child can be stopped");
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).expect("a child can be waited for").expect("it was waited for");
        assert!(status.stopped(), "it ended by itself with {status:?}");
        Paused(self)
    }

    /// Waits for its end.
    pub fn end(mut self) -> Done {
        let out = self.ended_within(HANG).unwrap_or_else(|| {
            // Nothing more can be done for it.
            let _ = self.child.kill();
            panic!("the program hangs");
        });
        self.finish(out)
    }

    /// Its standard output, if it ends in time.
    pub fn ended_within(&mut self, time: Duration) -> Option<String> {
        self.out.recv_timeout(time).ok()
    }

    /// Waits for a process that closed its output.
    pub fn finish(mut self, out: String) -> Done {
        let status = self.child.wait().expect("a child can be waited for");
        let err = self.err.recv().unwrap_or_default();
        assert!(!err.contains("panicked"), "{err}");
        Done { code: status.code(), out, err }
    }

    /// Sends SIGTERM once it would be heard, and waits for its end: a start that does not listen yet is ended by the signal itself.
    pub fn terminate(self) -> Done {
        wait_until("it listens to signals", || self.hears_sigterm());
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a child can be told to end");
        self.end()
    }

    /// Whether it catches SIGTERM, or has ended.
    fn hears_sigterm(&self) -> bool {
        let field = |name| status_field(self.id(), name).unwrap_or_default();
        let caught = u64::from_str_radix(&field("SigCgt"), 16).unwrap_or_default();
        caught & 1 << (Signal::TERM.as_raw() - 1) != 0 || field("State").starts_with('Z')
    }

    /// Sends SIGKILL, and waits for nothing.
    pub fn send_kill(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).expect("a child can be killed");
    }

    /// Kills it, if it still runs; where the test fails, shows what it said last.
    #[expect(clippy::print_stderr, reason = "why a test failed is for a person to see")]
    pub fn abandon(mut self) {
        // What holds it would hold its end, too.
        if let Some(tracer) = self.tracer() {
            let _ = kill_process(tracer, Signal::KILL);
        }
        // What has ended needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let err = self.err.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            let lines: Vec<&str> = err.lines().collect();
            let last = lines.len().saturating_sub(LAST_LINES);
            eprintln!("process {} said last:\n{}", self.child.id(), lines[last..].join("\n"));
        }
    }

    /// Sends SIGKILL; whether that is what ended it.
    pub fn kill(mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.child.kill().expect("a child can be killed");
        let status = self.child.wait().expect("a child can be waited for");
        let err = self.err.recv().unwrap_or_default();
        assert!(!err.contains("panicked"), "{err}");
        assert!(status.signal() == Some(9) || status.code() == Some(0), "it failed by itself with {status}: {err}");
        status.signal() == Some(9)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.0.child), Signal::CONT).expect("a child can go on");
    }
}

impl Done {
    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.out))
    }

    /// Standard output as JSON lines.
    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"))).collect()
    }

    /// What `--json` says on standard error about a failure, behind what it told before.
    pub fn failure(&self) -> Value {
        let last = self.err.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.err))
    }

    /// Checks that it failed so, in JSON, with a hint.
    pub fn refused(&self, exit: i32, code: &str) {
        let failure = self.failure();
        assert_eq!((self.code, failure["code"].as_str()), (Some(exit), Some(code)), "{self:#?}");
        assert!(failure["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "no hint: {self:#?}");
        assert!(failure["error"].as_str().is_some_and(|error| !error.is_empty()), "no message: {self:#?}");
    }
}
