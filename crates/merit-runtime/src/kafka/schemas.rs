//! Schemas by the ids that messages name them with: Merit's own, and those of other programs as they come up.
//!
//! Without a registry the id of a schema is the number of the record's type. With one it is what the registry gave it in the subject
//! `TOPIC-merit.RECORD`, the name that clients know as that of TopicRecordNameStrategy. What was learned stays in the data directory ([`FILE`]), so a copy starts and goes on while the registry is down;
//! then what it learned is held against the registry behind the start.

use super::access::Access;
use super::error::ClusterError;
use super::registry::Registry;
use merit_codec::{canonical_form, fingerprint, schema};
use merit_core::Kind;
use merit_topology::Topology;
use serde_json::Value;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Name of the file in the data directory that keeps what was learned of a registry.
pub const FILE: &str = "schemas.json";

/// Record types have numbers below this.
const KINDS: usize = 256;

/// Between two questions to a registry that failed to answer.
const AGAIN: Duration = Duration::from_secs(1);

/// A record type in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `TOPIC-merit.RECORD`.
    pub name: String,
    /// Number of the topic.
    topic: usize,
    kind: Kind,
    /// Its id; none where the registry does not have it.
    pub id: Option<u32>,
}

/// What is known of schemas.
#[derive(Default)]
pub struct Schemas {
    /// By topic and number of the record type; empty without a registry.
    ids: Vec<u32>,
    looking_up: Option<LookingUp>,
}

impl Schemas {
    /// Asks the registry, where there is one, for the id of every schema; goes by what the directory has of it, where it has all.
    pub fn learn(access: &Access, topology: &Topology, directory: Option<&Path>) -> Result<Schemas, ClusterError> {
        let Some(registry) = Registry::of(access)? else { return Ok(Schemas::default()) };
        let file = directory.map(|directory| directory.join(FILE));
        let kept = file.as_deref().map(Learned::read).unwrap_or_default();
        let kept_subjects: Option<Vec<Subject>> = subjects(topology).into_iter().map(|subject| kept.complete(subject)).collect();
        let (subjects, to_check) = match kept_subjects {
            Some(subjects) => (subjects, true),
            None => {
                let subjects = ask(&registry, topology)?;
                refuse_missing(&subjects)?;
                compare(&registry, &subjects, &kept)?;
                (subjects, false)
            }
        };
        let mut learned = Learned { subjects: BTreeMap::new(), ..kept };
        learned.subjects.extend(subjects.iter().filter_map(|subject| Some((subject.key(), subject.id?))));
        if let Some(file) = &file {
            learned.write(file);
        }
        let known = Schemas::of(topology, Some(&subjects));
        Ok(Schemas { looking_up: Some(LookingUp::start(registry, learned, file, to_check.then_some(subjects))), ..known })
    }

    /// Those of subjects that have their ids, or without a registry; enough to write with.
    pub fn of(topology: &Topology, subjects: Option<&[Subject]>) -> Schemas {
        Schemas { ids: subjects.map_or_else(Vec::new, |subjects| table(subjects, topology.topics.len())), looking_up: None }
    }

    /// Id of the schema of a record type in a topic.
    pub(super) fn id(&self, topic: usize, kind: u32) -> u32 {
        self.ids.get(topic * KINDS + kind as usize).copied().unwrap_or(kind)
    }

    /// What reads values under an id that is none of Merit's own.
    pub(super) fn other(&self, id: u32) -> Other {
        self.looking_up.as_ref().map_or(Other::Absent, |looking_up| looking_up.find(id))
    }

    /// What was found wrong with the registry since the start, once.
    pub(super) fn fault(&self) -> Option<ClusterError> {
        self.looking_up.as_ref().and_then(|looking_up| looking_up.found.state().fault.take())
    }
}

/// What is known of an id.
#[derive(Clone)]
pub(super) enum Other {
    /// The text of its schema.
    Text(Arc<str>),
    /// Nobody has it.
    Absent,
    /// It is being asked for; with what went wrong so far.
    Asked(Option<String>),
}

/// Every subject, of which nothing is known.
fn subjects(topology: &Topology) -> Vec<Subject> {
    let of = |(topic, spec): (usize, &merit_topology::Topic)| {
        let name = spec.name.clone();
        let subject = move |kind: Kind| Subject { name: format!("{name}-merit.{}", kind.name()), topic, kind, id: None };
        spec.records.iter().map(subject).collect::<Vec<_>>()
    };
    topology.topics.iter().enumerate().flat_map(of).collect()
}

fn table(subjects: &[Subject], topics: usize) -> Vec<u32> {
    let mut ids = vec![0; topics * KINDS];
    for subject in subjects {
        ids[subject.topic * KINDS + subject.kind as usize] = subject.id.unwrap_or(0);
    }
    ids
}

impl Subject {
    /// What a file knows it by: with another schema it is another.
    fn key(&self) -> String {
        format!("{} {}", self.name, merit_core::id::Hex(&fingerprint(self.kind)))
    }
}

/// Asks a registry for every subject.
pub fn plan(access: &Access, topology: &Topology) -> Result<Option<Vec<Subject>>, ClusterError> {
    Registry::of(access)?.map(|registry| ask(&registry, topology)).transpose()
}

fn ask(registry: &Registry, topology: &Topology) -> Result<Vec<Subject>, ClusterError> {
    let mut subjects = subjects(topology);
    for subject in &mut subjects {
        subject.id = registry.find(&subject.name, &schema(subject.kind).to_string())?;
    }
    Ok(subjects)
}

/// Registers what is missing; nothing is ever removed.
pub fn register(access: &Access, subjects: &mut [Subject]) -> Result<(), ClusterError> {
    let Some(registry) = Registry::of(access)? else { return Ok(()) };
    for subject in subjects.iter_mut().filter(|subject| subject.id.is_none()) {
        subject.id = Some(registry.register(&subject.name, &schema(subject.kind).to_string())?);
    }
    compare(&registry, subjects, &Learned::default())
}

/// Names of those that the registry does not have.
pub fn missing(subjects: &[Subject]) -> Vec<String> {
    subjects.iter().filter(|subject| subject.id.is_none()).map(|subject| subject.name.clone()).collect()
}

fn refuse_missing(subjects: &[Subject]) -> Result<(), ClusterError> {
    let missing = missing(subjects);
    if missing.is_empty() { Ok(()) } else { Err(ClusterError::SchemaMissing { subjects: missing }) }
}

/// Refuses a registry that has another schema under an id than messages mean by it: those of these subjects, and those that the
/// directory knew before.
fn compare(registry: &Registry, subjects: &[Subject], kept: &Learned) -> Result<(), ClusterError> {
    let now = subjects.iter().filter_map(|subject| Some((subject.id?, subject.name.as_str(), subject.kind)));
    let of = |(key, id): (&String, &u32)| {
        let (name, _) = key.split_once(' ')?;
        let subject = subjects.iter().find(|subject| subject.name == name && subject.key() == *key)?;
        Some((*id, subject.name.as_str(), subject.kind))
    };
    let before = kept.subjects.iter().filter_map(|(key, id)| of((key, id)));
    let all: BTreeSet<(u32, &str, Kind)> = now.chain(before).collect();
    let mut compared = BTreeMap::new();
    for (id, subject, kind) in all {
        if let Entry::Vacant(vacant) = compared.entry(id) {
            let found = registry.schema(id)?.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            vacant.insert(found.as_ref().map(canonical_form));
        }
        if compared[&id].as_ref() != Some(&canonical_form(&schema(kind))) {
            return Err(ClusterError::SchemaDiffers { subject: subject.into(), id });
        }
    }
    Ok(())
}

/// What was learned of a registry.
#[derive(Clone, Default)]
struct Learned {
    /// Ids by [`Subject::key`].
    subjects: BTreeMap<String, u32>,
    /// Schemas of other programs by id; none where the registry had none. So it stays: what became of a message was decided.
    others: BTreeMap<u32, Option<Arc<str>>>,
}

impl Learned {
    fn complete(&self, subject: Subject) -> Option<Subject> {
        let id = *self.subjects.get(&subject.key())?;
        Some(Subject { id: Some(id), ..subject })
    }

    /// Nothing where there is no file, or one that was damaged: all can be learned again.
    fn read(file: &Path) -> Learned {
        let parse = |text: String| serde_json::from_str::<Value>(&text).ok();
        let document = std::fs::read_to_string(file).ok().and_then(parse).unwrap_or_default();
        let number = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let entries = |name: &str| document[name].as_object().into_iter().flatten();
        Learned {
            subjects: entries("subjects").filter_map(|(key, id)| Some((key.clone(), number(id)?))).collect(),
            others: entries("others").filter_map(|(id, text)| Some((id.parse().ok()?, text.as_str().map(Arc::from)))).collect(),
        }
    }

    /// A file that cannot be written is learned again.
    fn write(&self, file: &Path) {
        let others = self.others.iter().map(|(id, text)| (id.to_string(), text.as_deref().map_or(Value::Null, Value::from)));
        let document = serde_json::json!({ "subjects": self.subjects, "others": others.collect::<serde_json::Map<_, _>>() });
        let part = file.with_extension("part");
        let _ = std::fs::write(&part, document.to_string()).and_then(|()| std::fs::rename(&part, file));
    }
}

/// Questions to a registry, asked by a thread of their own: whoever waits for one answer goes on with everything else.
struct LookingUp {
    found: Arc<Found>,
    ask: Sender<u32>,
}

#[derive(Default)]
struct Found {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    learned: Learned,
    asked: BTreeSet<u32>,
    /// What went wrong last, and did not come right since.
    trouble: Option<String>,
    fault: Option<ClusterError>,
}

impl Found {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until there is an answer; none where nobody waits for it any more.
    fn ask<T>(self: &Arc<Found>, call: impl Fn() -> Result<T, ClusterError>) -> Option<Result<T, ClusterError>> {
        while Arc::strong_count(self) > 1 {
            match call() {
                Err(error @ ClusterError::Registry { .. }) => self.state().trouble = Some(error.to_string()),
                answer => {
                    self.state().trouble = None;
                    return Some(answer);
                }
            }
            std::thread::sleep(AGAIN);
        }
        None
    }
}

impl LookingUp {
    /// Begins with what is to be checked.
    fn start(registry: Registry, learned: Learned, file: Option<PathBuf>, to_check: Option<Vec<Subject>>) -> LookingUp {
        let found = Arc::new(Found { state: Mutex::new(State { learned, ..State::default() }) });
        let (ask, asked) = channel();
        let of_thread = Arc::clone(&found);
        // Where no thread can be made, whoever asks waits and says so.
        let _ = std::thread::Builder::new().name("registry".into()).spawn(move || {
            look_up(&registry, &of_thread, &asked, file.as_deref(), to_check);
        });
        LookingUp { found, ask }
    }

    fn find(&self, id: u32) -> Other {
        let mut state = self.found.state();
        match state.learned.others.get(&id) {
            Some(Some(text)) => Other::Text(Arc::clone(text)),
            Some(None) => Other::Absent,
            None => {
                if state.asked.insert(id) {
                    // Its end is gone only where no thread could be made.
                    let _ = self.ask.send(id);
                }
                Other::Asked(state.trouble.clone())
            }
        }
    }
}

fn look_up(registry: &Registry, found: &Arc<Found>, asked: &Receiver<u32>, file: Option<&Path>, to_check: Option<Vec<Subject>>) {
    if let Some(subjects) = to_check
        && let Some(Err(fault)) = found.ask(|| compare(registry, &subjects, &Learned::default()))
    {
        found.state().fault = Some(fault);
    }
    for id in asked {
        let Some(Ok(text)) = found.ask(|| registry.schema(id)) else { continue };
        let mut state = found.state();
        state.asked.remove(&id);
        state.learned.others.insert(id, text.map(Arc::from));
        if let Some(file) = file {
            state.learned.write(file);
        }
    }
}
