//! What `merit run` tells of its own life, on standard error: text, or JSON a line. Nothing in it comes from a client.

use merit_gateway::counters::Counters;
use std::io::stderr;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, subscriber, warn};

/// A commit that takes longer is told.
const SLOW: Duration = Duration::from_secs(1);

/// Begins to tell.
pub(super) fn begin(json: bool) {
    let builder = tracing_subscriber::fmt().with_writer(stderr).with_target(false);
    // A process has one; whoever set it before hears what follows.
    let _ = if json {
        subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        subscriber::set_global_default(builder.finish())
    };
    info!(version = env!("CARGO_PKG_VERSION"), logic_version = merit_runtime::LOGIC_VERSION, "merit starts");
}

/// Tells of a commit that was slow.
pub(super) fn committed(took: Duration, records: u32) {
    if SLOW < took {
        warn!(seconds = took.as_secs_f64(), records, "a commit was slow");
    }
}

/// Tells of connections that were refused since it was asked last.
#[derive(Default)]
pub(super) struct Refusals(Vec<(&'static str, Arc<Counters>, u64)>);

impl Refusals {
    /// Watches a service too.
    pub(super) fn watch(&mut self, service: &'static str, counters: &Arc<Counters>) {
        self.0.push((service, Arc::clone(counters), 0));
    }

    /// Tells.
    pub(super) fn tell(&mut self) {
        for (service, counters, told) in &mut self.0 {
            let refused = counters.refused.get();
            if *told < refused {
                warn!(service, connections = refused - *told, "connections were refused: as many are open as may be");
                *told = refused;
            }
        }
    }
}
