//! A data directory of a test with the topology and the key that it is used with.

use crate::dump::{self, Dump, Entry};
use crate::process::{Call, Done, merit};
use crate::{repository, trace, trace_mapping, write};
use merit::registry::registered;
use merit_core::Datum;
use merit_runtime::layout::Layout;
use merit_runtime::store::{BASE, Commit, Store, Sync};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Which parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The topology that is compiled in: seed 001.
    Default,
    /// That of the example: closed windows, intervals, automatic approval.
    Example,
}

/// An empty data directory; gone when dropped.
pub struct Directory {
    folder: TempDir,
    /// The topology file.
    pub topology: PathBuf,
}

/// A fixed key, so that two directories can be compared, signatures included.
const KEY: &str = "5f1b3c0d9e8a7766554433221100ffeeddccbbaa99887766554433221100aabb\n";

impl Directory {
    /// An empty one.
    pub fn new(profile: Profile) -> Directory {
        match profile {
            Profile::Default => Directory::with_topology(repository("topology.toml")),
            Profile::Example => Directory::with_topology(repository("examples/topology.toml")),
        }
    }

    /// An empty one, used with this file.
    pub fn with_topology(topology: PathBuf) -> Directory {
        let folder = TempDir::with_prefix("merit-it-").expect("a temporary directory");
        let directory = Directory { folder, topology };
        write(&directory.key(), KEY);
        std::fs::set_permissions(directory.key(), std::fs::Permissions::from_mode(0o600)).expect("our own file");
        directory
    }

    /// A copy of this one as its files are, without its read models.
    pub fn copy(&self) -> Directory {
        let copy = Directory::with_topology(self.topology.clone());
        std::fs::create_dir(copy.data()).expect("a new directory");
        let files = std::fs::read_dir(self.data()).expect("a data directory").flatten();
        for file in files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())) {
            std::fs::copy(file.path(), copy.data().join(file.file_name())).expect("a file can be copied");
        }
        copy
    }

    /// The emitter key.
    pub fn key(&self) -> PathBuf {
        self.file("key")
    }

    /// The data directory itself.
    pub fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// A file beside the data.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A call on this directory; the first words are the command.
    pub fn call<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Call {
        merit(arguments).with(["--json", "--data-dir"]).with([self.data()]).with(["--topology"]).with([&self.topology])
    }

    /// An import of files.
    pub fn import<S: AsRef<std::ffi::OsStr>>(&self, files: impl IntoIterator<Item = S>) -> Call {
        self.call(["import"]).with(["--audit-key"]).with([self.key()]).with(files)
    }

    /// An import of the real trace.
    pub fn import_trace(&self) -> Call {
        self.import([trace()]).with(["--mapping"]).with([trace_mapping()])
    }

    /// The services on it, on ports that the system chooses.
    pub fn serve(&self) -> Call {
        let call = self.call(["run"]).with(["--audit-key"]).with([self.key()]);
        ["EVAL_ENGINE_ADDR", "RESOURCE_ALLOCATOR_ADDR", "MERIT_OPS_ADDR"].iter().fold(call, |call, name| call.env(name, "127.0.0.1:0"))
    }

    /// Every record of a topic as `merit log cat` shows it.
    pub fn records(&self, topic: &str) -> Vec<Value> {
        self.call(["log", "cat", topic]).ok().lines()
    }

    /// The records of one type.
    pub fn records_of(&self, topic: &str, kind: &str) -> Vec<Value> {
        self.records(topic).into_iter().filter(|record| record["type"] == kind).collect()
    }

    /// Checks that the log is whole: it verifies, and computing it again gives every record.
    pub fn is_whole(&self) {
        self.call(["audit", "verify"]).ok();
        let replayed = self.replay();
        assert_eq!(replayed.code, Some(0), "{replayed:#?}");
    }

    /// Applies pools.
    pub fn pools(&self, file: &Path) -> Done {
        self.call(["pools", "apply"]).with(["--audit-key"]).with([self.key()]).with([file]).ok()
    }

    /// Computes it again and compares.
    pub fn replay(&self) -> Done {
        self.call(["replay", "--assert-equal"]).with(["--audit-key"]).with([self.key()]).run()
    }

    /// Every record.
    pub fn dump(&self) -> Dump {
        dump::dump(&self.data(), &dump::topology(&self.topology))
    }

    /// Name of the stream of a record, with the lineage that the first leaf's chain has.
    pub fn stream(&self, entry: &Entry) -> String {
        let layout = Layout::new(&dump::topology(&self.topology), &registered());
        let task = layout.task_of_stream(entry.stream).expect("a task wrote it");
        let leaves = self.dump();
        let chain = &dump::of_topic(&leaves, "audit").next().expect("a leaf").key;
        let (_, lineage) = chain.rsplit_once('/').expect("a chain ends in its lineage");
        format!("{}/{lineage}", task.stream_prefix(entry.stream as u16))
    }

    /// Records of `eval.reports`; none before a first commit.
    pub fn inputs(&self) -> u64 {
        let layout = Layout::new(&dump::topology(&self.topology), &registered());
        let Ok(store) = Store::open_to_read(&self.data()) else { return 0 };
        let partitions = &layout.partitions[layout.all_of("eval.reports").expect("a topic of the topology")];
        partitions.iter().map(|partition| store.end(partition).unwrap_or_else(|error| panic!("{error}"))).sum()
    }

    /// Another directory that holds the log of this one after `change`, and no state but that of the base.
    pub fn changed(&self, change: impl FnOnce(&mut Dump)) -> Directory {
        self.copied(BASE, change)
    }

    /// Another directory that holds the log of this one after `change`, and its state as it is.
    pub fn changed_under_its_state(&self, change: impl FnOnce(&mut Dump)) -> Directory {
        self.copied(&[], change)
    }

    /// With the state rows under a prefix.
    fn copied(&self, state: &[u8], change: impl FnOnce(&mut Dump)) -> Directory {
        let from = Store::open_to_read(&self.data()).unwrap_or_else(|error| panic!("{error}"));
        let mut entries = self.dump();
        change(&mut entries);
        let topology = dump::topology(&self.topology);
        let layout = Layout::new(&topology, &registered());
        let mut commit = Commit::default();
        for (number, partition) in layout.partitions.iter().enumerate() {
            let is_here = |entry: &&Entry| (entry.topic.as_str(), entry.partition) == (&*partition.name, partition.partition);
            let records: Vec<&Entry> = entries.iter().filter(is_here).collect();
            let mut put = |base: u64, batch: &[&Entry]| {
                let mut body = Vec::new();
                batch.iter().for_each(|entry| entry.frame().put(&mut body));
                commit.batches.push((number, base, batch.len() as u32, body));
                base + batch.len() as u64
            };
            if from.mirrored().is_some() {
                // Each stays at its offset.
                for run in records.chunk_by(|one, next| one.offset + 1 == next.offset) {
                    put(run[0].offset, run);
                }
            } else {
                let first = records.first().map_or(0, |entry| entry.offset);
                records.chunks(1_000).fold(first, put);
            }
        }
        commit.meta = from.meta_under("").unwrap_or_else(|error| panic!("{error}"));
        let copied = from.state_rows(state, |key, row| commit.state.push(([state, key].concat(), row.to_vec())));
        copied.unwrap_or_else(|error| panic!("{error}"));
        let copy = Directory::with_topology(self.topology.clone());
        let store = Store::open(&copy.data(), Sync::System).unwrap_or_else(|error| panic!("{error}"));
        store.commit(&mut commit, &layout.partitions).unwrap_or_else(|error| panic!("{error}"));
        copy
    }
}

/// The trace imported with pools, in the way the example does it.
pub fn example() -> Directory {
    let directory = with_pools(Profile::Example);
    directory.import_trace().ok();
    directory
}

/// An empty directory with the pools of the examples and that of seed 001.
pub fn with_pools(profile: Profile) -> Directory {
    let directory = Directory::new(profile);
    directory.pools(&repository("examples/pools.toml"));
    directory.pools(&repository("tests/scenarios/pools.toml"));
    directory
}
