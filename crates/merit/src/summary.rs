//! What an import did, from the log and the state that it left.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{log, state};
use merit_core::record::Kinds;
use merit_core::{Kind, Payload};
use merit_runtime::layout::Layout;
use merit_runtime::store::Store;
use merit_runtime::task::repeated;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// One run of an import.
pub(crate) struct Run<'a> {
    /// Rows taken now.
    pub(crate) rows: u64,
    /// Rows that were there before.
    pub(crate) before: u64,
    /// Inputs that were folded again at the start.
    pub(crate) refolded: u64,
    /// Values of state that were left on disk to stay within the bound of memory.
    pub(crate) evicted: u64,
    pub(crate) elapsed: Duration,
    pub(crate) data_dir: &'a Path,
    pub(crate) sorted: bool,
}

/// Inputs by class; design 1.6. The order is that of the equation.
const CLASSES: [(&str, &str); 7] = [
    ("accepted", "accepted"),
    ("duplicate", "duplicate"),
    ("rejected", "rejected"),
    ("rerouted", "rerouted"),
    ("commands", "commands"),
    ("fedBack", "fed back"),
    ("control", "control"),
];

/// The place of commands among them.
const COMMANDS: usize = 4;

/// One partition's inputs by class.
struct Conservation {
    partition: u32,
    inputs: u64,
    classes: [u64; 7],
    scored: u64,
    late: u64,
}

impl Conservation {
    fn holds(&self) -> bool {
        self.inputs == self.classes.iter().sum::<u64>() && self.classes[0] == self.scored + self.late
    }
}

/// Prints it; fails where the sums do not agree.
pub(crate) fn print(store: &Store, layout: &Layout, run: &Run<'_>, out: &mut Output) -> Result<(), Failure> {
    let sums = conservation(store, layout)?;
    let rules = by_rule(store, layout)?;
    let moves = tier_changes(store, layout)?;
    let pools = pool_rows(store, layout)?;
    let allocations = allocation_counts(store, layout)?;
    if out.json {
        let partitions: Vec<Value> = sums.iter().map(conservation_json).collect();
        let tiers: Vec<&Value> = moves.iter().map(|(_, _, value)| value).collect();
        let value = json!({ "rows": run.rows, "rowsBefore": run.before, "refolded": run.refolded, "evicted": run.evicted, "seconds": run.elapsed.as_secs_f64(),
            "partitions": partitions, "rejectedByRule": rules, "tierChanges": tiers, "allocations": allocations, "pools": pools });
        out.line(value.to_string())?;
    } else {
        text(run, &sums, &rules, &moves, &pools, &allocations, out)?;
    }
    match sums.iter().find(|sums| !sums.holds()) {
        None => Ok(()),
        Some(sums) => {
            let message = format!("inputs of eval.reports/{} do not add up", sums.partition);
            Err(Failure::new(code::NOT_CONSERVED, message))
        }
    }
}

fn text(
    run: &Run<'_>,
    sums: &[Conservation],
    rules: &BTreeMap<String, u64>,
    moves: &[(String, String, Value)],
    pools: &[Value],
    allocations: &BTreeMap<String, u64>,
    out: &mut Output,
) -> Result<(), Failure> {
    let seconds = run.elapsed.as_secs_f64();
    let again = if run.before > 0 { format!(", {} were there before", run.before) } else { String::new() };
    out.line(format!("{} rows taken in {seconds:.2} s{again}", run.rows))?;
    out.line("\nConservation (in = the sum of its classes; accepted = scored + late)")?;
    let mut rows = vec![
        ["partition", "in", "accepted", "duplicate", "rejected", "rerouted", "commands", "fed back", "control", "scored", "late", ""]
            .map(String::from)
            .to_vec(),
    ];
    for sums in sums {
        let mut row = vec![sums.partition.to_string(), sums.inputs.to_string()];
        row.extend(sums.classes.iter().map(u64::to_string));
        row.extend([sums.scored.to_string(), sums.late.to_string(), if sums.holds() { "holds".into() } else { "BROKEN".into() }]);
        rows.push(row);
    }
    out.table(&rows)?;
    let late: u64 = sums.iter().map(|sums| sums.late).sum();
    if late > 0 && !run.sorted {
        out.line(format!("hint: {late} reports came later than grace and count in no window; --sort orders a file by event time first"))?;
    }
    if !rules.is_empty() {
        out.line("\nRejected by rule")?;
        out.table(&rules.iter().map(|(rule, count)| vec![rule.clone(), count.to_string()]).collect::<Vec<_>>())?;
    }
    out.line("\nTier changes")?;
    if moves.is_empty() {
        out.line("  none")?;
    }
    let (tiers, others): (Vec<_>, Vec<_>) = moves.iter().partition(|(kind, ..)| matches!(kind.as_str(), "promote" | "demote"));
    let shown = 60;
    for (kind, time, value) in tiers.iter().take(shown) {
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let to = field("toTier");
        out.line(format!("  {time}  {kind:<7} to {to:<9} {:<8} {:<10} {}", field("agentId"), field("divisionId"), field("rationale")))?;
    }
    if tiers.len() > shown {
        out.line(format!("  ... and {} more: merit log cat eval.promotions", tiers.len() - shown))?;
    }
    let count = |kind: &str| others.iter().filter(|(other, ..)| other == kind).count();
    let (review, held) = (count("review"), count("held"));
    if !others.is_empty() {
        out.line(format!(
            "  no change: {review} for a person to review, since the interval did not prove what the windows said; {held} held by dwell"
        ))?;
    }
    out.line("\nAllocations")?;
    out.table(&allocations.iter().map(|(what, count)| vec![what.clone(), count.to_string()]).collect::<Vec<_>>())?;
    if !pools.is_empty() {
        out.line("\nGPUs a pool")?;
        let mut rows = vec![["pool", "capacity", "granted", "moved in", "moved out"].map(String::from).to_vec()];
        rows.extend(pools.iter().map(|pool| {
            ["pool", "capacity", "granted", "in", "out"].map(|field| pool[field].to_string().trim_matches('"').to_owned()).to_vec()
        }));
        out.table(&rows)?;
    }
    out.line(format!("\ndata directory: {}", run.data_dir.display()))
}

fn conservation(store: &Store, layout: &Layout) -> Result<Vec<Conservation>, Failure> {
    let mut sums = Vec::new();
    for at in layout.all_of("eval.reports").into_iter().flatten() {
        let partition = layout.partitions[at].partition;
        sums.push(Conservation { partition, inputs: store.end(&layout.partitions[at])?, classes: [0; 7], scored: 0, late: 0 });
    }
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or(0);
    for (name, fill) in [("ingest-counts", true), ("score-counts", false)] {
        let mut partitions = sums.iter_mut();
        state::rows(store, layout, name, |_, _, _, text| {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            if let Some(sums) = partitions.next() {
                if fill {
                    sums.classes = CLASSES.map(|(field, _)| number(&value, field));
                } else {
                    (sums.scored, sums.late) = (number(&value, "scored"), number(&value, "late"));
                }
            }
            Ok(())
        })?;
    }
    // A command that came again did not run, and is a command all the same.
    for (sums, at) in sums.iter_mut().zip(layout.all_of("eval.reports").into_iter().flatten()) {
        let reader = layout.partitions[at].reader.map(|task| &layout.tasks[task]);
        sums.classes[COMMANDS] += reader.map_or(Ok(0), |task| repeated(store, task))?;
    }
    Ok(sums)
}

fn conservation_json(sums: &Conservation) -> Value {
    let mut value =
        json!({ "partition": sums.partition, "in": sums.inputs, "scored": sums.scored, "late": sums.late, "holds": sums.holds() });
    for ((field, _), count) in CLASSES.iter().zip(sums.classes) {
        value[*field] = count.into();
    }
    value
}

fn by_rule(store: &Store, layout: &Layout) -> Result<BTreeMap<String, u64>, Failure> {
    let mut rules = BTreeMap::new();
    each(store, layout, "eval.rejected", Kinds::of(&[Kind::Rejected]), |_, _, payload| {
        if let Payload::Rejected(rejected) = payload {
            *rules.entry(rejected.rule.to_owned()).or_default() += 1;
        }
    })?;
    Ok(rules)
}

/// Promotions and demotions in order of time: what, when, the record.
fn tier_changes(store: &Store, layout: &Layout) -> Result<Vec<(String, String, Value)>, Failure> {
    let mut moves = Vec::new();
    let kinds = Kinds::of(&[Kind::PromotionProposed, Kind::DemotionProposed, Kind::ReviewRequired, Kind::Held]);
    each(store, layout, "eval.promotions", kinds, |_, text, payload| {
        let what = match payload.kind() {
            Kind::PromotionProposed => "promote",
            Kind::DemotionProposed => "demote",
            Kind::ReviewRequired => "review",
            _ => "held",
        };
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        moves.push((what.to_owned(), value["timestamp"].as_str().unwrap_or_default().to_owned(), value));
    })?;
    moves.sort_by(|left, right| (&left.1, left.2["agentId"].as_str()).cmp(&(&right.1, right.2["agentId"].as_str())));
    Ok(moves)
}

fn allocation_counts(store: &Store, layout: &Layout) -> Result<BTreeMap<String, u64>, Failure> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let kinds = Kinds::of(&[
        Kind::AllocationRequested,
        Kind::AllocationConfirmed,
        Kind::AllocationRejected,
        Kind::AllocationReleased,
        Kind::AllocationPreempted,
        Kind::AllocationPended,
    ]);
    each(store, layout, "alloc.applied", kinds, |_, _, payload| {
        let what = match payload {
            Payload::AllocationRejected(rejected) => format!("rejected: {}", rejected.policy_id),
            Payload::AllocationPended(pended) => format!("waiting: {}", pended.reason),
            other => other.kind().name().trim_start_matches("Allocation").to_lowercase(),
        };
        *counts.entry(what).or_default() += 1;
    })?;
    Ok(counts)
}

/// Whole GPUs that moved into and out of each pool, and what is granted now.
fn pool_rows(store: &Store, layout: &Layout) -> Result<Vec<Value>, Failure> {
    let mut pools: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    let kinds = Kinds::of(&[Kind::PoolDefined, Kind::AllocationConfirmed, Kind::AllocationReleased]);
    each(store, layout, "alloc.applied", kinds, |_, _, payload| match payload {
        Payload::PoolDefined(pool) => pools.entry(pool.pool.into()).or_default()[0] = pool.capacity,
        Payload::AllocationConfirmed(confirmed) => pools.entry(confirmed.pool.into()).or_default()[1] += confirmed.delta,
        Payload::AllocationReleased(released) => pools.entry(released.pool.into()).or_default()[2] += released.delta,
        _ => {}
    })?;
    let gpus = |milli: u64| milli / 1_000;
    let row = |(pool, [capacity, out, back]): (String, [u64; 3])| json!({ "pool": pool, "capacity": gpus(capacity), "granted": gpus(out - back), "in": gpus(back), "out": gpus(out) });
    Ok(pools.into_iter().map(row).collect())
}

/// Gives every record of some types of a topic: partition, JSON text, payload.
fn each(store: &Store, layout: &Layout, topic: &str, kinds: Kinds, mut then: impl FnMut(u32, &str, Payload<'_>)) -> Result<(), Failure> {
    for at in layout.all_of(topic).into_iter().flatten() {
        let partition = &layout.partitions[at];
        let mut records = store.records(partition);
        while let Some((_, frame)) = records.next()? {
            if let Some(kind) = frame.kind().filter(|kind| kinds.contains(*kind)) {
                let text = log::value(&frame);
                Payload::decode(kind, frame.payload, |payload| then(partition.partition, &text, payload));
            }
        }
    }
    Ok(())
}

/// `3 problems in FILE`.
pub(crate) fn problems(count: usize, name: &str) -> String {
    format!("{count} problem{} in {name}", if count == 1 { "" } else { "s" })
}
