//! `merit topology`: check, draw, acl and apply.

mod acl;
mod cluster;

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, Reach, registry, session, summary};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use merit_runtime::Engine;
use merit_runtime::embedded::Begun;
use merit_runtime::lineage::Cause;
use merit_runtime::store::Store;
use merit_topology::{Format, Topology};
use serde_json::json;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum TopologyCommand {
    /// Name everything that is wrong, with code and line.
    Check(Check),
    /// Draw topics, processors and the ways between them.
    Draw(Draw),
    /// The ACLs that each role needs on a cluster, as commands for Kafka's kafka-acls.sh.
    Acl(acl::Acl),
    /// Give a cluster the topics and the configuration of the topology; or go on in a new lineage from a log that a start refuses as
    /// `log_differs`.
    Apply(Apply),
}

#[derive(Args)]
pub(crate) struct Check {
    /// The file; the one that is compiled in by default.
    file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Draw {
    /// The file; the one that is compiled in by default.
    file: Option<PathBuf>,
    /// What to draw for.
    #[arg(long, value_enum, default_value = "mermaid")]
    format: DrawFormat,
}

#[derive(Args)]
#[command(group(ArgGroup::new("to").required(true).args(["data_dir", "kafka"])))]
#[command(mut_arg("kafka", |arg| arg.requires("audit_key").conflicts_with_all(["new_lineage", "reason"])))]
pub(crate) struct Apply {
    /// The data directory whose log a start refuses as `log_differs`.
    #[arg(long, value_name = "DIR", requires_all = ["new_lineage", "reason"])]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// A topology file instead of the one that is compiled in.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// The partition that differs, as the refusal of the start names it first: TOPIC/NUMBER.
    #[arg(long, value_name = "PARTITION")]
    new_lineage: Option<String>,
    /// Why the log may go on from what differs; it stands in the log for ever.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
    /// The emitter key; DIR/audit.key by default. For a cluster it is made where it has no configuration yet: copy it to every copy.
    #[arg(long, value_name = "FILE")]
    audit_key: Option<PathBuf>,
    /// Say what would change on the cluster, and change nothing.
    #[arg(long, conflicts_with = "data_dir")]
    dry_run: bool,
}

/// The longest reason, in bytes.
const MAX_REASON: usize = 4_096;

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a reason has words".into()),
        long if long.len() > MAX_REASON => Err(format!("a reason has at most {MAX_REASON} bytes")),
        reason => Ok(reason.into()),
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum DrawFormat {
    Mermaid,
    Dot,
    Table,
}

impl TopologyCommand {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        match self {
            TopologyCommand::Acl(acl) => acl.run(out),
            TopologyCommand::Check(check) => check.run(out),
            TopologyCommand::Apply(apply) => apply.run(out),
            TopologyCommand::Draw(draw) => {
                let topology = session::topology(draw.file.as_deref())?;
                let format = match draw.format {
                    DrawFormat::Mermaid => Format::Mermaid,
                    DrawFormat::Dot => Format::Dot,
                    DrawFormat::Table => Format::Table,
                };
                out.line(merit_topology::draw(&topology, format).trim_end())
            }
        }
    }
}

impl Apply {
    fn run(self, out: &mut Output) -> Result<(), Failure> {
        let topology = session::topology(self.topology.as_deref())?;
        if let (Some(deployed), Some(key)) = (session::cluster(&self.reach, &topology)?, &self.audit_key) {
            return cluster::apply(&topology, deployed, key, self.dry_run, out);
        }
        match self {
            Apply { data_dir: Some(data_dir), new_lineage: Some(partition), reason: Some(reason), topology: file, audit_key, .. } => {
                let place = Place { data_dir, topology: file };
                begin_lineage(&place, &topology, audit_key.as_ref(), &partition, &reason, out)
            }
            // The arguments require each other so.
            _ => Err(Failure::new(code::USAGE, "neither a directory nor a cluster is named")),
        }
    }
}

fn begin_lineage(
    place: &Place,
    topology: &Topology,
    audit_key: Option<&PathBuf>,
    partition: &str,
    reason: &str,
    out: &mut Output,
) -> Result<(), Failure> {
    // Reading first: this command makes no directory.
    drop(Store::open_to_read(&place.data_dir)?);
    let signer = session::writing_key(place, topology, audit_key)?;
    let begun = Engine::begin_lineage(&place.data_dir, topology, &registry::registered(), signer, partition, reason)?;
    let Begun { name, cause: Cause { uncompared, .. }, difference } = begun;
    if out.json {
        let value = json!({ "lineage": name, "partition": partition, "reason": reason, "uncompared": uncompared,
            "difference": difference.to_string() });
        return out.line(value.to_string());
    }
    out.line(format!("lineage {name} has begun: {reason}"))?;
    out.line(format!("  {difference}"))?;
    out.line(format!("  the {uncompared} records behind the last checkpoint stay as they were found, and are compared no more"))?;
    out.line("  any start goes on from here; `merit audit verify` and `merit replay --assert-equal` tell of it")
}

impl Check {
    fn run(self, out: &mut Output) -> Result<(), Failure> {
        let (name, text) = session::topology_text(self.file.as_deref())?;
        let findings =
            merit_topology::parse(&text).map_or_else(|findings| findings, |topology| merit_topology::check(&topology, &registry::codes()));
        for finding in &findings {
            out.line(if out.json {
                serde_json::json!({ "file": name, "line": finding.line, "code": finding.code, "name": finding.name, "message": finding.message }).to_string()
            } else {
                format!("{name}:{finding}")
            })?;
        }
        match findings.len() {
            0 if out.json => Ok(()),
            0 => out.line(format!("{name}: no problems")),
            count => {
                out.finish()?;
                Err(Failure::new(code::TOPOLOGY_INVALID, summary::problems(count, &name)))
            }
        }
    }
}
