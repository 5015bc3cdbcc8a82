//! The topology as a picture and as a table, always the same for the same file.

use crate::{Kind, Partitions, SubTopology, Topic, Topology};
use std::fmt::Write;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Mermaid flowchart.
    Mermaid,
    /// A Graphviz digraph.
    Dot,
    /// A table of the topics.
    Table,
}

/// Draws the topology.
pub fn draw(topology: &Topology, format: Format) -> String {
    match format {
        Format::Mermaid => mermaid(topology),
        Format::Dot => dot(topology),
        Format::Table => table(topology),
    }
}

/// What an arrow joins, by indices.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Source(usize),
    Topic(usize),
    SubTopology(usize),
    Processor(usize, usize),
}

struct Arrow {
    from: Node,
    to: Node,
    /// What goes there; empty where the topic says it.
    label: String,
    feedback: bool,
}

impl Arrow {
    fn plain(from: Node, to: Node) -> Arrow {
        Arrow { from, to, label: String::new(), feedback: false }
    }
}

fn arrows(topology: &Topology) -> Vec<Arrow> {
    let sources = topology.topics.iter().enumerate().filter(|(_, topic)| !topic.source.is_empty());
    let sources = sources.map(|(at, _)| Arrow::plain(Node::Source(at), Node::Topic(at)));
    let subs = topology.sub_topologies.iter().enumerate();
    sources.chain(subs.flat_map(|(at, sub)| arrows_of(topology, at, sub))).collect()
}

fn arrows_of(topology: &Topology, at: usize, sub: &SubTopology) -> Vec<Arrow> {
    let nodes: Vec<Node> = (0..sub.processors.len()).map(|processor| Node::Processor(at, processor)).collect();
    let input = nodes.first().map(|first| Arrow::plain(Node::Topic(sub.input), *first));
    let chain = nodes.windows(2).map(|pair| Arrow::plain(pair[0], pair[1]));
    let outputs = (0..sub.processors.len()).flat_map(|processor| outputs(topology, at, processor));
    let leaves = topology.topics_of(sub, Kind::AuditLeaf).into_iter().filter(|_| topology.leaves(sub, Kind::AuditLeaf));
    let leaves = leaves.map(|topic| Arrow::plain(Node::SubTopology(at), Node::Topic(topic)));
    input.into_iter().chain(chain).chain(outputs).chain(leaves).collect()
}

/// One arrow to each topic, and one more where some of what goes there is feedback.
fn outputs(topology: &Topology, at: usize, processor: usize) -> Vec<Arrow> {
    let sub = &topology.sub_topologies[at];
    let spec = &sub.processors[processor];
    let arrow = |topic: usize, feedback: bool| {
        let goes = |kind: &Kind| spec.feedback.contains(*kind) == feedback && topology.topics_of(sub, *kind).contains(&topic);
        let kinds: Vec<&str> = spec.writes.iter().filter(goes).map(Kind::name).collect();
        // An output topic says what it carries; of an input, with many writers, the arrow says what this one gives.
        let label = if topology.reader_of(topic).is_some() { kinds.join(", ") } else { String::new() };
        (!kinds.is_empty()).then_some(Arrow { from: Node::Processor(at, processor), to: Node::Topic(topic), label, feedback })
    };
    (0..topology.topics.len()).flat_map(|topic| [arrow(topic, false), arrow(topic, true)]).flatten().collect()
}

fn id(node: Node) -> String {
    match node {
        Node::Source(topic) => format!("source{topic}"),
        Node::Topic(topic) => format!("topic{topic}"),
        Node::SubTopology(at) => format!("sub{at}"),
        Node::Processor(at, processor) => format!("processor{at}_{processor}"),
    }
}

fn mermaid(topology: &Topology) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "#quot;"));
    let mut lines = vec!["flowchart LR".to_string()];
    for (at, topic) in topology.topics.iter().enumerate() {
        if !topic.source.is_empty() {
            lines.push(format!("  {}([{}])", id(Node::Source(at)), quoted(&topic.source.join(", "))));
        }
        lines.push(format!("  {}[({})]", id(Node::Topic(at)), quoted(&topic.name)));
    }
    for (at, sub) in topology.sub_topologies.iter().enumerate() {
        lines.push(format!("  subgraph {}[{}]", id(Node::SubTopology(at)), quoted(&sub.name)));
        let processors = sub.processors.iter().enumerate();
        lines.extend(processors.map(|(processor, spec)| format!("    {}[{}]", id(Node::Processor(at, processor)), quoted(&spec.name))));
        lines.push("  end".to_string());
    }
    for arrow in arrows(topology) {
        let line = if arrow.feedback { "-.->" } else { "-->" };
        let label = if arrow.label.is_empty() { String::new() } else { format!("|{}|", quoted(&arrow.label)) };
        lines.push(format!("  {} {line}{label} {}", id(arrow.from), id(arrow.to)));
    }
    lines.join("\n") + "\n"
}

fn dot(topology: &Topology) -> String {
    let mut lines = vec![format!("digraph {:?} {{", topology.application), "  rankdir=LR; compound=true; node [shape=box];".to_string()];
    for (at, topic) in topology.topics.iter().enumerate() {
        if !topic.source.is_empty() {
            lines.push(format!("  {} [shape=plaintext, label={:?}];", id(Node::Source(at)), topic.source.join(", ")));
        }
        lines.push(format!("  {} [shape=cylinder, label={:?}];", id(Node::Topic(at)), topic.name));
    }
    for (at, sub) in topology.sub_topologies.iter().enumerate() {
        lines.push(format!("  subgraph cluster_{} {{", id(Node::SubTopology(at))));
        lines.push(format!("    label={:?};", sub.name));
        let processors = sub.processors.iter().enumerate();
        lines.extend(processors.map(|(processor, spec)| format!("    {} [label={:?}];", id(Node::Processor(at, processor)), spec.name)));
        lines.push("  }".to_string());
    }
    lines.extend(arrows(topology).iter().map(|arrow| dot_arrow(topology, arrow)));
    lines.join("\n") + "\n}\n"
}

/// Graphviz draws an arrow from a cluster as one from a node in it that is cut off at the border.
fn dot_arrow(topology: &Topology, arrow: &Arrow) -> String {
    let (from, tail) = match arrow.from {
        Node::SubTopology(at) => {
            let last = Node::Processor(at, topology.sub_topologies[at].processors.len().saturating_sub(1));
            (last, format!("ltail=cluster_{}", id(arrow.from)))
        }
        Node::Source(_) | Node::Topic(_) | Node::Processor(..) => (arrow.from, String::new()),
    };
    let label = if arrow.label.is_empty() { String::new() } else { format!("label={:?}", arrow.label) };
    let style = if arrow.feedback { "style=dashed" } else { "" };
    let attributes: Vec<&str> = [tail.as_str(), label.as_str(), style].into_iter().filter(|attribute| !attribute.is_empty()).collect();
    let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
    format!("  {} -> {}{attributes};", id(from), id(arrow.to))
}

/// A list in a table's cell goes on in the next line behind this many characters.
const CELL_WIDTH: usize = 48;

fn table(topology: &Topology) -> String {
    let header = ["topic", "key", "partitions", "records", "written by", "read by"].map(|name| vec![name.to_string()]);
    let rows = topology.topics.iter().enumerate().map(|(at, topic)| row(topology, at, topic));
    let rows: Vec<[Vec<String>; 6]> = [header].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().flat_map(|row| &row[column]).map(|line| line.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for line in 0..row.iter().map(Vec::len).max().unwrap_or(0) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", cell.get(line).map_or("", String::as_str)));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", cells.collect::<Vec<String>>().join("  ").trim_end());
        }
    }
    text
}

fn row(topology: &Topology, at: usize, topic: &Topic) -> [Vec<String>; 6] {
    let count = topology.partition_count(at);
    let partitions = match topic.partitions {
        Partitions::Count(_) => count.to_string(),
        Partitions::Input => format!("{count} (input)"),
    };
    let records: Vec<&str> = topic.records.iter().map(Kind::name).collect();
    let sources = topic.source.iter().map(String::as_str);
    let mut written_by: Vec<&str> = Vec::new();
    for writer in sources.chain(writers(topology, at)) {
        if !written_by.contains(&writer) {
            written_by.push(writer);
        }
    }
    let reader = topology.reader_of(at).map(|reader| topology.sub_topologies[reader].name.as_str());
    let read_by: Vec<&str> = reader.into_iter().chain(topic.sink.then_some("outside")).collect();
    [vec![topic.name.clone()], vec![topic.key.clone()], vec![partitions], wrapped(&records), wrapped(&written_by), wrapped(&read_by)]
}

/// Names of the processors that write to a topic; of sub-topologies where the runtime does it for them.
fn writers(topology: &Topology, at: usize) -> impl Iterator<Item = &str> {
    topology.sub_topologies.iter().flat_map(move |sub| {
        let to_topic = move |kind: &Kind| topology.topics_of(sub, *kind).contains(&at);
        let processors = sub.processors.iter().filter(move |processor| processor.writes.iter().any(|kind| to_topic(&kind)));
        let leaves = (topology.leaves(sub, Kind::AuditLeaf) && to_topic(&Kind::AuditLeaf)).then_some(sub.name.as_str());
        processors.map(|processor| processor.name.as_str()).chain(leaves)
    })
}

/// A list in lines of about [`CELL_WIDTH`] characters.
fn wrapped(words: &[&str]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (at, word) in words.iter().enumerate() {
        let comma = if at + 1 < words.len() { "," } else { "" };
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line = format!("{word}{comma}"),
            Some(line) if line.chars().count() + word.chars().count() < CELL_WIDTH => *line = format!("{line} {word}{comma}"),
            _ => lines.push(format!("{word}{comma}")),
        }
    }
    lines
}
