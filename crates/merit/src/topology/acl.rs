//! `merit topology acl`: who may do what on a cluster.

use crate::failure::Failure;
use crate::output::Output;
use crate::{registry, session};
use clap::Args;
use merit_runtime::kafka::acl::{self, Grant};
use merit_runtime::kafka::topics::Topics;
use merit_runtime::kafka::{Access, Cluster};
use merit_runtime::layout::Layout;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Acl {
    /// A topology file instead of the one that is compiled in.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl Acl {
    pub(super) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let topology = session::topology(self.topology.as_deref())?;
        let layout = Layout::new(&topology, &registry::registered());
        // Nothing is asked of a cluster: only the application has a say in the names.
        let cluster = Cluster { brokers: String::new(), application: topology.application.clone(), access: Access::default() };
        let grants = acl::grants(&topology, &layout, &Topics::new(&cluster, &layout));
        if out.json {
            return grants.iter().try_for_each(|grant| out.line(json(grant).to_string()));
        }
        out.line("# For a shell with Kafka's kafka-acls.sh in its PATH, BROKERS=HOST:PORT, and in the file ADMIN how one is reached who may alter ACLs.")?;
        out.line("# A role is the principal of its name: put others for User:NAME where yours are called otherwise.")?;
        let mut before = None;
        for grant in &grants {
            if before.replace(grant.role) != Some(grant.role) {
                out.line(format!("\n# {}: {}", grant.role.name(), grant.role.purpose()))?;
            }
            out.line(command(grant))?;
        }
        Ok(())
    }
}

fn command(grant: &Grant) -> String {
    let mut words = vec![
        r#"kafka-acls.sh --bootstrap-server "$BROKERS" --command-config "$ADMIN" --add"#.to_owned(),
        format!("--allow-principal User:{}", grant.role.name()),
    ];
    words.extend(grant.operations.iter().map(|operation| format!("--operation {operation}")));
    words.extend(grant.is_prefix.then(|| "--resource-pattern-type prefixed".into()));
    words.extend(grant.names.iter().map(|name| format!("--{} {name}", grant.kind.name())));
    words.join(" ")
}

fn json(grant: &Grant) -> Value {
    json!({
        "role": grant.role.name(),
        "principal": format!("User:{}", grant.role.name()),
        "operations": grant.operations,
        "resource": grant.kind.name(),
        "pattern": if grant.is_prefix { "prefixed" } else { "literal" },
        "names": grant.names,
    })
}
