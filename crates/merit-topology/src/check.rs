//! The rules: one small function each, every problem at once.

use crate::rule::{self, Rule};
use crate::{CONTROL, Finding, Partitions, ProcessorSpec, SubTopology, Topic, Topology, by_line};
use merit_core::record::Kinds;
use merit_core::{Kind, Problem, Settings};
use std::collections::BTreeSet;

/// What the binary holds of one processor.
#[derive(Clone, Debug)]
pub struct ProcessorCode {
    /// The sub-topology that it stands in.
    pub sub_topology: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Record types that reach it.
    pub reads: Kinds,
    /// Record types that leave it.
    pub writes: Kinds,
    /// Names of its stores.
    pub stores: Vec<&'static str>,
    /// Finds everything that is wrong with its parameters.
    pub problems: fn(&Settings) -> Vec<Problem>,
}

/// Finds everything that is wrong with the file, by line; `code` is all that the binary holds.
pub fn check(topology: &Topology, code: &[ProcessorCode]) -> Vec<Finding> {
    let rules_of_file: [RuleOfFile; 13] = [
        topic_names,
        partition_counts,
        inputs_with_count,
        clear_partitions,
        topics_with_reader,
        topics_with_one_reader,
        records_with_writer,
        retention_of_evaluations,
        supplied_reads,
        cycles_with_feedback,
        feedback_in_cycles,
        stores_used_once,
        profile_in_force,
    ];
    let rules_of_code: [RuleOfCode; 4] = [in_binary, in_file, ports_as_in_code, parameters];
    let of_file = rules_of_file.iter().flat_map(|rule| rule(topology));
    by_line(of_file.chain(rules_of_code.iter().flat_map(|rule| rule(topology, code))).collect())
}

type RuleOfFile = fn(&Topology) -> Vec<Finding>;
type RuleOfCode = fn(&Topology, &[ProcessorCode]) -> Vec<Finding>;

// ---- topics ----

fn at_topic(topology: &Topology, rule: Rule, topic: &Topic, field: &[&str], message: String) -> Finding {
    let parts: Vec<&str> = ["topics", &topic.name].into_iter().chain(field.iter().copied()).collect();
    Finding::new(rule, topology.line(&parts), message)
}

fn topic_names(topology: &Topology) -> Vec<Finding> {
    let refused = topology.topics.iter().filter(|topic| !kafka_takes(&topic.name));
    let message = |topic: &Topic| format!("Kafka refuses {:?}: a name has 1 to 249 of a-z A-Z 0-9 . _ -", topic.name);
    refused.map(|topic| at_topic(topology, rule::TOPIC_NAME, topic, &[], message(topic))).collect()
}

fn kafka_takes(name: &str) -> bool {
    let takes = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    (1..=249).contains(&name.len()) && name.chars().all(takes) && name != "." && name != ".."
}

fn partition_counts(topology: &Topology) -> Vec<Finding> {
    let beyond = |topic: &&Topic| matches!(topic.partitions, Partitions::Count(count) if !(1..=10_000).contains(&count));
    let topics = topology.topics.iter().filter(beyond);
    let message = |topic: &Topic| format!("topic {} must have 1 to 10000 partitions", topic.name);
    topics.map(|topic| at_topic(topology, rule::PARTITION_COUNT, topic, &["partitions"], message(topic))).collect()
}

fn inputs_with_count(topology: &Topology) -> Vec<Finding> {
    let inputs: BTreeSet<usize> = topology.sub_topologies.iter().map(|sub| sub.input).collect();
    let topics = inputs.into_iter().map(|at| &topology.topics[at]).filter(|topic| topic.partitions == Partitions::Input);
    let message = |topic: &Topic| format!("topic {} is the input of a sub-topology: its partitions must be a number", topic.name);
    topics.map(|topic| at_topic(topology, rule::INPUT_WITHOUT_COUNT, topic, &["partitions"], message(topic))).collect()
}

fn clear_partitions(topology: &Topology) -> Vec<Finding> {
    let follows = |at: &usize| topology.topics[*at].partitions == Partitions::Input && topology.reader_of(*at).is_none();
    (0..topology.topics.len()).filter(follows).filter_map(|at| unclear_partitions(topology, at)).collect()
}

fn unclear_partitions(topology: &Topology, at: usize) -> Option<Finding> {
    let topic = &topology.topics[at];
    let writers: Vec<&SubTopology> = topology.writers_of(at).into_iter().map(|writer| &topology.sub_topologies[writer]).collect();
    let counts: BTreeSet<u32> = writers.iter().map(|writer| topology.partition_count(writer.input)).collect();
    let message = match (writers.is_empty(), counts.len()) {
        // Without a source too, it is a topic that nobody writes, which `records_with_writer` reports.
        (true, _) if !topic.source.is_empty() => {
            format!("topic {} is written from outside only: its partitions must be a number", topic.name)
        }
        (true, _) | (false, ..=1) => return None,
        (false, _) => {
            let each: Vec<String> =
                writers.iter().map(|writer| format!("{} has {}", writer.name, topology.partition_count(writer.input))).collect();
            format!("topic {} cannot have as many partitions as the input of its writers: {}", topic.name, each.join(", "))
        }
    };
    Some(at_topic(topology, rule::UNCLEAR_PARTITIONS, topic, &["partitions"], message))
}

fn topics_with_reader(topology: &Topology) -> Vec<Finding> {
    let unread = topology.topics.iter().enumerate().filter(|(at, topic)| !topic.sink && topology.reader_of(*at).is_none());
    let message = |topic: &Topic| format!("no sub-topology reads topic {}: say sink = true if somebody outside does", topic.name);
    unread.map(|(_, topic)| at_topic(topology, rule::TOPIC_WITHOUT_READER, topic, &[], message(topic))).collect()
}

fn topics_with_one_reader(topology: &Topology) -> Vec<Finding> {
    let subs = topology.sub_topologies.iter().enumerate();
    let second = subs.filter_map(|(at, sub)| {
        topology.reader_of(sub.input).filter(|first| *first < at).map(|first| (sub, &topology.sub_topologies[first]))
    });
    let message = |sub: &SubTopology, first: &SubTopology| {
        format!("{} has the input of {}: {}", sub.name, first.name, topology.topics[sub.input].name)
    };
    let line = |sub: &SubTopology| topology.line(&["sub-topologies", &sub.name, "input"]);
    second.map(|(sub, first)| Finding::new(rule::TOPIC_WITH_TWO_READERS, line(sub), message(sub, first))).collect()
}

fn records_with_writer(topology: &Topology) -> Vec<Finding> {
    let written = |at: usize, kind: Kind| {
        topology.sub_topologies.iter().any(|sub| topology.writes(sub, kind) && topology.topics_of(sub, kind).contains(&at))
    };
    let control = |at: usize, kind: Kind| CONTROL.contains(kind) && topology.reader_of(at).is_some();
    let without_source = topology.topics.iter().enumerate().filter(|(_, topic)| topic.source.is_empty());
    let records = without_source.flat_map(|(at, topic)| topic.records.iter().map(move |kind| (at, topic, kind)));
    let message = |topic: &Topic, kind: Kind| format!("nobody writes {} to topic {}, which has no source", kind.name(), topic.name);
    let unwritten = records.filter(|(at, _, kind)| !written(*at, *kind) && !control(*at, *kind));
    unwritten
        .map(|(_, topic, kind)| at_topic(topology, rule::RECORD_WITHOUT_WRITER, topic, &["records", kind.name()], message(topic, kind)))
        .collect()
}

fn retention_of_evaluations(topology: &Topology) -> Vec<Finding> {
    let elsewhere = topology.topics.iter().filter(|topic| topic.retention.is_some() && !topic.name.starts_with("eval."));
    let message = |topic: &Topic| format!("topic {} is kept for ever: only topics of eval.* may have a retention", topic.name);
    elsewhere.map(|topic| at_topic(topology, rule::RETENTION_ELSEWHERE, topic, &["retention"], message(topic))).collect()
}

// ---- sub-topologies ----

/// A processor in its sub-topology.
#[derive(Clone, Copy)]
struct Member<'a> {
    /// Index of the sub-topology.
    at: usize,
    sub: &'a SubTopology,
    spec: &'a ProcessorSpec,
}

impl<'a> Member<'a> {
    /// Processors that a record meets before this one.
    fn earlier(self) -> impl Iterator<Item = &'a ProcessorSpec> {
        self.sub.processors.iter().take_while(move |other| other.name != self.spec.name)
    }

    fn is_of(self, code: &ProcessorCode) -> bool {
        code.sub_topology == self.sub.name && code.name == self.spec.name
    }
}

fn members(topology: &Topology) -> impl Iterator<Item = Member<'_>> {
    let subs = topology.sub_topologies.iter().enumerate();
    subs.flat_map(|(at, sub)| sub.processors.iter().map(move |spec| Member { at, sub, spec }))
}

/// Every record type of a list of every processor.
fn kinds<'a>(topology: &'a Topology, list: fn(&ProcessorSpec) -> Kinds) -> impl Iterator<Item = (Member<'a>, Kind)> {
    members(topology).flat_map(move |member| list(member.spec).iter().map(move |kind| (member, kind)))
}

fn at_processor(topology: &Topology, rule: Rule, member: Member<'_>, field: &[&str], message: &str) -> Finding {
    let (sub, processor) = (&member.sub.name, &member.spec.name);
    let parts: Vec<&str> = ["sub-topologies", sub, processor].into_iter().chain(field.iter().copied()).collect();
    Finding::new(rule, topology.line(&parts), format!("{processor} of {sub} {message}"))
}

fn supplied_reads(topology: &Topology) -> Vec<Finding> {
    kinds(topology, |spec| spec.reads).filter_map(|(member, kind)| unsupplied_read(topology, member, kind)).collect()
}

fn unsupplied_read(topology: &Topology, member: Member<'_>, kind: Kind) -> Option<Finding> {
    let input = &topology.topics[member.sub.input];
    if input.records.contains(kind) || member.earlier().any(|other| other.writes.contains(kind)) {
        return None;
    }
    let written_later = member.sub.processors.iter().any(|other| other.writes.contains(kind));
    let in_some_topic = topology.topics.iter().any(|topic| topic.records.contains(kind));
    let (rule, why) = match (written_later, in_some_topic) {
        (false, false) => (rule::RECORD_WITHOUT_TOPIC, "no topic carries: it could be in"),
        (false, true) => (rule::READ_BEFORE_WRITTEN, "no earlier processor writes, nor is it in"),
        (true, _) => (rule::READ_BEFORE_WRITTEN, "is written only behind it, nor is it in"),
    };
    let message = format!("reads {}, which {why} its input {}", kind.name(), input.name);
    Some(at_processor(topology, rule, member, &["reads", kind.name()], &message))
}

/// A record type that goes from a processor to the input of a sub-topology.
struct Edge<'a> {
    writer: Member<'a>,
    kind: Kind,
    /// Index of the sub-topology that reads it.
    to: usize,
}

impl Edge<'_> {
    fn feedback(&self) -> bool {
        self.writer.spec.feedback.contains(self.kind)
    }
}

fn edges(topology: &Topology) -> Vec<Edge<'_>> {
    let readers = |sub, kind| topology.topics_of(sub, kind).into_iter().filter_map(|topic| topology.reader_of(topic));
    let writes = kinds(topology, |spec| spec.writes);
    writes.flat_map(|(writer, kind)| readers(writer.sub, kind).map(move |to| Edge { writer, kind, to })).collect()
}

/// Whether records get from one sub-topology to another, or are there already, without a step that is marked as feedback.
fn reaches(edges: &[Edge<'_>], from: usize, to: usize) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(&at) = reached.get(next) {
        let onward: Vec<usize> = edges.iter().filter(|edge| edge.writer.at == at && !edge.feedback()).map(|edge| edge.to).collect();
        for sub in onward {
            if !reached.contains(&sub) {
                reached.push(sub);
            }
        }
        next += 1;
    }
    reached.contains(&to)
}

/// Every cycle has a step to the same or an earlier sub-topology of the file: that is the one to mark.
fn cycles_with_feedback(topology: &Topology) -> Vec<Finding> {
    let edges = edges(topology);
    let closes_cycle = |edge: &&Edge<'_>| !edge.feedback() && edge.to <= edge.writer.at && reaches(&edges, edge.to, edge.writer.at);
    let finding = |edge: &Edge<'_>| {
        let (kind, upstream) = (edge.kind.name(), &topology.sub_topologies[edge.to].name);
        let message = format!("writes {kind}, which goes back to the input of {upstream}: list it in feedback");
        at_processor(topology, rule::CYCLE_WITHOUT_FEEDBACK, edge.writer, &["writes", kind], &message)
    };
    edges.iter().filter(closes_cycle).map(finding).collect()
}

fn feedback_in_cycles(topology: &Topology) -> Vec<Finding> {
    let edges = edges(topology);
    let goes_back = |member: Member<'_>, kind: Kind| {
        let mut of_kind =
            edges.iter().filter(|edge| edge.writer.at == member.at && edge.writer.spec.name == member.spec.name && edge.kind == kind);
        of_kind.any(|edge| reaches(&edges, edge.to, member.at))
    };
    let finding = |(member, kind): (Member<'_>, Kind)| {
        let why = if member.spec.writes.contains(kind) { "goes to no input upstream" } else { "it does not write" };
        let message = format!("marks {} as feedback, which {why}", kind.name());
        at_processor(topology, rule::FEEDBACK_WITHOUT_CYCLE, member, &["feedback", kind.name()], &message)
    };
    kinds(topology, |spec| spec.feedback).filter(|(member, kind)| !goes_back(*member, *kind)).map(finding).collect()
}

fn stores_used_once(topology: &Topology) -> Vec<Finding> {
    let stores = members(topology).flat_map(|member| member.spec.stores.iter().map(move |store| (member, store)));
    let finding = |(member, store): (Member<'_>, &String)| {
        let other = &member.earlier().find(|other| other.stores.contains(store))?.name;
        let message = format!("has a store {store}, and so has {other}");
        Some(at_processor(topology, rule::STORE_USED_TWICE, member, &["stores", store], &message))
    };
    stores.filter_map(finding).collect()
}

// ---- the binary ----

fn in_binary(topology: &Topology, code: &[ProcessorCode]) -> Vec<Finding> {
    let missing = members(topology).filter(|member| !code.iter().any(|code| member.is_of(code)));
    missing.map(|member| at_processor(topology, rule::NOT_IN_BINARY, member, &[], "is not in this binary")).collect()
}

fn in_file(topology: &Topology, code: &[ProcessorCode]) -> Vec<Finding> {
    let missing = code.iter().filter(|code| !members(topology).any(|member| member.is_of(code)));
    let line = |code: &ProcessorCode| topology.line(&["sub-topologies", code.sub_topology, "processors"]);
    let message = |code: &ProcessorCode| format!("{} of {} is in this binary, and not in the file", code.name, code.sub_topology);
    missing.map(|code| Finding::new(rule::NOT_IN_FILE, line(code), message(code))).collect()
}

fn ports_as_in_code(topology: &Topology, code: &[ProcessorCode]) -> Vec<Finding> {
    let both = members(topology).filter_map(|member| Some((member, code.iter().find(|code| member.is_of(code))?)));
    both.flat_map(|(member, code)| differences(topology, member, code)).collect()
}

fn differences(topology: &Topology, member: Member<'_>, code: &ProcessorCode) -> Vec<Finding> {
    let names = |kinds: Kinds| kinds.iter().map(Kind::name).collect::<Vec<&str>>();
    let stores: Vec<&str> = member.spec.stores.iter().map(String::as_str).collect();
    let lists = [
        (rule::READS_DIFFER, "reads", difference(&names(member.spec.reads), &names(code.reads))),
        (rule::WRITES_DIFFER, "writes", difference(&names(member.spec.writes), &names(code.writes))),
        (rule::STORES_DIFFER, "stores", difference(&stores, &code.stores)),
    ];
    let message = |field: &str, difference: String| format!("has other {field} in the code: {difference}");
    let finding = |(rule, field, difference)| Some(at_processor(topology, rule, member, &[field], &message(field, difference?)));
    lists.into_iter().filter_map(finding).collect()
}

/// What a list of the file lacks and has too much; none where it names the same as the code.
fn difference(file: &[&str], code: &[&str]) -> Option<String> {
    let missing = beyond(code, file).map(|names| format!("{names} missing here"));
    let extra = beyond(file, code).map(|names| format!("{names} not in the code"));
    let parts: Vec<String> = missing.into_iter().chain(extra).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn beyond(these: &[&str], those: &[&str]) -> Option<String> {
    let names: Vec<&str> = these.iter().copied().filter(|name| !those.contains(name)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

// ---- parameters ----

fn profile_in_force(topology: &Topology) -> Vec<Finding> {
    let profile = topology.settings.get("profile").unwrap_or("default");
    let profiles = topology.settings.children("profiles");
    if profiles.iter().any(|known| known == profile) {
        return Vec::new();
    }
    let message = format!("profile {profile} is none of those here: {}", profiles.join(", "));
    vec![Finding::new(rule::UNKNOWN_PROFILE, topology.line(&["parameters", "profile"]), message)]
}

/// Judges the parameters with each profile in force: one that nobody reads under any of them is unknown.
/// Where the binary lacks a processor, nobody can tell which parameters are that one's.
fn parameters(topology: &Topology, code: &[ProcessorCode]) -> Vec<Finding> {
    let line = |path: &str| topology.lines.at(&format!("parameters.{path}"));
    let mut problems: Vec<Problem> = Vec::new();
    let mut unread: Option<BTreeSet<String>> = None;
    for settings in by_profile(&topology.settings) {
        for problem in code.iter().flat_map(|code| (code.problems)(&settings)) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        let unused: BTreeSet<String> = settings.unused().into_iter().collect();
        unread = Some(unread.map_or(unused.clone(), |unread| &unread & &unused));
    }
    let message = |problem: &Problem| format!("{}: {}", problem.path, problem.message);
    let wrong = problems.iter().map(|problem| Finding::new(rule::PARAMETER, line(&problem.path), message(problem)));
    let unread = unread.filter(|_| in_binary(topology, code).is_empty()).unwrap_or_default();
    let unread = unread.iter().map(|path| (path, format!("no processor reads the parameter {path}")));
    let unknown = unread.map(|(path, message)| Finding::new(rule::UNKNOWN_PARAMETER, line(path), message));
    wrong.chain(unknown).collect()
}

/// The settings once as they are, and once for each other profile with that in force.
fn by_profile(settings: &Settings) -> Vec<Settings> {
    let as_is: Vec<(String, String)> = settings.iter().map(|(path, value)| (path.to_string(), value.to_string())).collect();
    let others = settings.children("profiles").into_iter().filter(|name| settings.get("profile") != Some(name));
    let chosen = others.map(|name| as_is.iter().cloned().chain([("profile".to_string(), name)]).collect());
    let all: Vec<Settings> = [as_is.iter().cloned().collect()].into_iter().chain(chosen).collect();
    // `profile` itself is judged by `profile_in_force`.
    for settings in &all {
        settings.get("profile");
    }
    all
}
