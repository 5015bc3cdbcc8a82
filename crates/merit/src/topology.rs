//! `merit topology`: check and draw.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{registry, session, summary};
use clap::{Args, Subcommand, ValueEnum};
use merit_topology::Format;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum TopologyCommand {
    /// Name everything that is wrong, with code and line.
    Check(Check),
    /// Draw topics, processors and the ways between them.
    Draw(Draw),
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

#[derive(Clone, Copy, ValueEnum)]
enum DrawFormat {
    Mermaid,
    Dot,
    Table,
}

impl TopologyCommand {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        match self {
            TopologyCommand::Check(check) => check.run(out),
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
