//! `merit audit`: the audit log against the records that it speaks of.

mod keys;
mod reading;
pub(crate) mod rule;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, registry, session};
use clap::{Args, Subcommand};
use merit_runtime::RuntimeError;
use merit_runtime::layout::Layout;
use merit_runtime::lineage::{Cause, Lineage};
use merit_runtime::processed::{Processed, Span};
use merit_runtime::store::Store;
use reading::Broken;
use serde_json::{Value, json};
use std::time::Instant;
use verify::{Covered, Open, Pruned, Verified};

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Recompute every leaf, chain, signature and seal from the bytes, and name the first fault.
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    place: Place,
    /// A public key that may sign, as NAME+ID+BASE64, or a file of such lines; by default the key that the log itself names.
    #[arg(long = "key", value_name = "VKEY-or-FILE")]
    keys: Vec<String>,
}

impl Audit {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let Audit::Verify(verify) = self;
        let keys = keys::read(&verify.keys)?;
        let topology = session::topology(verify.place.topology.as_deref())?;
        let layout = Layout::new(&topology, &registry::registered());
        let store = Store::open_log(&verify.place.data_dir).map_err(|error| failure(error.into()))?;
        let start = Instant::now();
        let verified = verify::verify(&store, &layout, keys, |done| out.progress(done));
        out.progress("");
        let verified = verified.map_err(|broken| failure_in(&store, &layout, broken))?;
        let seconds = start.elapsed().as_secs_f64();
        if out.json { out.line(as_json(&verified, seconds).to_string()) } else { print(&verified, seconds, out) }
    }
}

/// Verifies a log with the key that it names; gives the number of its leaves.
pub(crate) fn leaves(store: &Store, layout: &Layout, out: &mut Output) -> Result<u64, Failure> {
    let verified = verify::verify(store, layout, Vec::new(), |done| out.progress(done)).map_err(failure)?;
    Ok(verified.leaves.values().sum())
}

/// A copy that was left before its end, or goes on, may lack what the cluster holds.
fn failure_in(store: &Store, layout: &Layout, broken: Broken) -> Failure {
    let cut = |span: &Span| span.from.is_some() && span.to.is_none();
    let is_unfinished = store.mirrored().is_some() && Processed::of(store, layout).is_ok_and(|processed| processed.0.iter().any(cut));
    match broken {
        Broken::Fault(fault) if is_unfinished => Failure::new(code::COPY_UNFINISHED, fault.to_string()),
        broken => failure(broken),
    }
}

fn failure(broken: Broken) -> Failure {
    match broken {
        Broken::Fault(fault) => Failure::new(code::AUDIT_FAULT, fault.to_string()).because(fault.rule.happened),
        // What the store or a batch cannot read is a changed log, not a failed disk.
        Broken::Store(error @ (RuntimeError::Corrupt { .. } | RuntimeError::Damaged { .. })) => {
            Failure::new(code::AUDIT_FAULT, format!("{}: {error}", rule::CORRUPT.name)).because(rule::CORRUPT.happened)
        }
        Broken::Store(error) => error.into(),
    }
}

fn as_json(verified: &Verified, seconds: f64) -> Value {
    let task = |task: &Covered| {
        json!({ "task": task.task, "seals": task.seals, "inputs": task.inputs, "outputs": task.outputs,
            "notYetSealed": { "inputs": task.inputs_open, "outputs": task.outputs_open } })
    };
    let lineage = |Lineage { name, cause }: &Lineage| {
        let cause = cause.as_ref();
        json!({ "name": name, "partition": cause.map(|cause| &cause.partition), "reason": cause.map(|cause| &cause.reason),
            "uncompared": cause.map(|cause| cause.uncompared) })
    };
    let tasks: Vec<Value> = verified.tasks.iter().map(task).collect();
    let pruned = &verified.pruned;
    let lineages: Vec<Value> = verified.lineages.iter().map(lineage).collect();
    json!({ "verified": true, "log": verified.origin, "lineages": lineages, "emitterKey": verified.emitter,
        "keyFromLog": verified.key_from_log, "leaves": verified.leaves.values().sum::<u64>(), "leavesByType": verified.leaves,
        "copyOf": verified.copy_of,
        "open": { "unsealed": verified.open.unsealed, "unsigned": verified.open.unsigned, "lacking": verified.open.lacking },
        "chains": verified.chains, "signatures": verified.signatures, "parents": verified.parents, "tasks": tasks, "seconds": seconds,
        "pruned": { "leaves": pruned.leaves, "seals": pruned.seals, "parents": pruned.parents } })
}

fn print(verified: &Verified, seconds: f64, out: &mut Output) -> Result<(), Failure> {
    let total = |of: fn(&Covered) -> u64| verified.tasks.iter().map(of).sum::<u64>();
    let leaves: u64 = verified.leaves.values().sum();
    out.line(format!("{}: no fault found", verified.origin))?;
    let rows = [
        ("leaves", leaves, "each with its record"),
        ("chains", verified.chains as u64, "without a gap"),
        ("signatures", verified.signatures, "valid; they cover every leaf"),
        ("parents", verified.parents as u64, "without a leaf of their own, found in topics"),
        ("seals", total(|task| task.seals), "recomputed"),
        ("inputs", total(|task| task.inputs), "covered by seals"),
        ("outputs", total(|task| task.outputs), "covered by seals"),
    ];
    out.table(&rows.map(|(what, count, note)| vec![what.into(), count.to_string(), note.into()]))?;
    let Open { unsealed, unsigned, lacking } = verified.open;
    if let Some(of) = &verified.copy_of {
        out.line(format!("\na copy of {of}"))?;
    }
    if unsealed + unsigned > 0 {
        out.line(format!(
            "tasks were at work as it was made: at its end {unsealed} leaves are not in the audit log yet, {lacking} of them without their record, and {unsigned} leaves not signed yet; a later copy shows them"
        ))?;
    }
    let Pruned { leaves, seals, parents } = verified.pruned;
    if leaves + seals + parents > 0 {
        out.line(format!("\npruned by retention: the records of {leaves} leaves, of {seals} seals and of {parents} parents; their signed leaves speak for them"))?;
    }
    for (Lineage { name, .. }, Cause { partition, reason, uncompared }) in
        verified.lineages.iter().filter_map(|lineage| Some((lineage, lineage.cause.as_ref()?)))
    {
        out.line(format!("\nlineage {name}: begun since {partition} differed: {reason}"))?;
        out.line(format!(
            "     the {uncompared} records before it stand as they were found, and what no seal covers there is never sealed"
        ))?;
    }
    out.line("\nBy task")?;
    let mut rows = vec![["task", "seals", "inputs", "outputs", "not yet sealed"].map(String::from).to_vec()];
    rows.extend(verified.tasks.iter().map(|task| {
        let open = format!("{} inputs, {} outputs", task.inputs_open, task.outputs_open);
        vec![task.task.clone(), task.seals.to_string(), task.inputs.to_string(), task.outputs.to_string(), open]
    }));
    out.table(&rows)?;
    out.line(format!(
        "\nnot yet sealed: {} (inputs and outputs behind the last seal of their task)",
        total(|task| task.inputs_open + task.outputs_open)
    ))?;
    match verified.key_from_log {
        true => {
            out.line(format!("key: {}", verified.emitter))?;
            out.line("     taken from the log itself; compare it with the one that you know, or pass that by --key")?;
        }
        false => out.line("key: as given")?,
    }
    out.line(format!("{seconds:.2} s"))
}
