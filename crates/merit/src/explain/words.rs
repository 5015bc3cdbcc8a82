//! Records in words: a sentence a record type, and what its fields add.
//!
//! `{field}` stands for the field's value, `{a/b}` for one within another. A text with a field that is null or not there is left
//! out.

use super::find::{Item, Proof};
use merit_core::{EventTime, Kind};
use merit_runtime::lineage::Cause;
use serde_json::Value;

/// What a record type says.
const SENTENCES: &[(Kind, &str)] = &[
    (Kind::PromotionProposed, "{agentId} of {divisionId} moves up from tier {fromTier} to {toTier}, asked by {requestedBy}: {rationale}"),
    (Kind::DemotionProposed, "{agentId} of {divisionId} moves down from tier {fromTier} to {toTier}, asked by {requestedBy}: {rationale}"),
    (Kind::Held, "{agentId} of {divisionId} stays in tier {tier}, held back by {guard}: {rationale}"),
    (Kind::ReviewRequired, "{agentId} of {divisionId} stays in tier {tier} until a person decides: {rationale}"),
    (Kind::ScoreUpdated, "report {reportId} on {agentId} of {divisionId}: observation {observation}, confidence {confidence}"),
    (Kind::ReportLate, "report {reportId} on {agentId} came late and counts in no window: measured {timestamp}, closed up to {watermark}"),
    (Kind::Rejected, "{recordType} from {source} at {topic}/{partition} offset {offset} broke rule {rule}: {detail}"),
    (Kind::RequestAllocation, "{requestedBy} asks for {delta} of {pool} for {agentId}: {reason}"),
    (Kind::Approve, "{approvedBy} approves"),
    (Kind::Reject, "rejected by hand: {rationale}"),
    (Kind::Release, "{requestedBy} gives back what {agentId} holds of {pool}: {reason}"),
    (Kind::Acked, "the cluster took order {fence} for {agentId} as {externalRef}"),
    (Kind::Refused, "the cluster refused order {fence} for {agentId}: {reason}"),
    (Kind::PolicyDecided, "policy says {policyId} for {agentId} in {pool}: {reason}"),
    (Kind::PoolDefined, "pool {pool} has {capacity} and is {state}"),
    (Kind::QuotaSet, "division {divisionId} may hold {nominal} of {pool}"),
    (Kind::CommandRefused, "{command} for {pool} changed nothing, rule {rule}: {detail}"),
    (Kind::AllocationRequested, "{requestedBy} requests {delta} of {pool} for {agentId} of {divisionId}: {reason}"),
    (Kind::AllocationPended, "{agentId} waits for GPUs of {pool}: {reason}"),
    (Kind::AllocationApproved, "{approvedBy} approves {delta} of {pool} for {agentId}"),
    (Kind::AllocationDispatched, "order {fence} to the cluster: {agentId} shall hold {quantity} of {pool}"),
    (Kind::AllocationApplied, "{appliedBy} applied {delta} of {pool} for {agentId}, let pass by {policyId}: {reason}"),
    (Kind::AllocationConfirmed, "seen in place: {delta} of {pool} for {agentId}, which now holds {quantity}"),
    (Kind::AllocationRejected, "{rejectedBy} rejects {delta} of {pool} for {agentId}, rule {policyId}: {reason}"),
    (Kind::AllocationDraining, "{delta} of {pool} come back from {agentId}, asked by {requestedBy}: {reason}"),
    (Kind::AllocationReleased, "{delta} of {pool} are free again; {agentId} still holds {quantity}"),
    (Kind::Preempt, "{requestedBy} takes {delta} of {pool} back from {agentId}: {reason}"),
    (Kind::AllocationPreempted, "{requestedBy} takes {delta} of {pool} back from {agentId}: {reason}"),
    (Kind::CreateRetrain, "{requestedBy} wants {modelFamily} trained again, priority {priority}"),
    (Kind::RetrainQueued, "{requestedBy} wants {modelFamily} trained again, priority {priority}, on {gpus} of {pool} held by {entityId}"),
    (Kind::RetrainUpdated, "job {jobId} is {status}: {detail}"),
    (Kind::ConfigEpoch, "configuration {number} of log {origin} is in force"),
];

/// What fields add, for any record that has them.
const FACTS: &[&str] = &[
    "window {evidence/window}: score {evidence/score}, threshold {evidence/threshold}, windows in a row: {evidence/windowsInRow}",
    "confidence {evidence/confidence}",
    "interval of the mean: {evidence/interval/low} to {evidence/interval/high}, n = {evidence/interval/n}",
    "profile {evidence/profile}",
    "profile {profile}",
    "approval: {approval}",
    "may pass: {allow}",
    "not before {notBefore}",
    "policy bundle {bundle}",
    "judged input {input}",
    "it begins a new lineage since {lineage/partition} differed: {lineage/reason}",
    "the lineage before: {lineage/parent}",
    "the cluster calls it {externalRef}",
];

/// What the items of lists add.
const LISTS: &[(&str, &str)] = &[
    ("blockers", "blocked by {rule}: {detail}"),
    ("taken", "{delta} from allocation {allocationId}"),
    ("transfers", "ledger: {amount} from {debit} to {credit}, {state}"),
    ("windows", "window {name}: score {score} (raw {rawScore}), n = {n}"),
];

/// Fields in milli-GPUs.
const MILLI: [&str; 6] = ["delta", "quantity", "amount", "capacity", "nominal", "gpus"];

/// What a record type is called.
pub(super) fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::PromotionProposed => "promotion",
        Kind::DemotionProposed => "demotion",
        Kind::ReviewRequired => "review",
        Kind::Held => "held change",
        other => other.name(),
    }
}

/// A time; none where a command carries none.
pub(super) fn time(time: EventTime) -> Option<String> {
    (time != EventTime::MIN).then(|| time.to_string())
}

/// An item in one line and its id.
pub(super) fn brief(item: &Item) -> Vec<String> {
    let kind = item.record.kind;
    let sentence = SENTENCES.iter().find(|(known, _)| *known == kind).and_then(|(_, template)| fill(template, &item.value));
    let when = time(item.record.time).unwrap_or_else(|| "at no time".into());
    vec![format!("{when}  {}", sentence.unwrap_or_else(|| item.value.to_string())), format!("    {} {}", kind.name(), item.id)]
}

/// An item as indented lines.
pub(super) fn lines(item: &Item) -> Vec<String> {
    let mut lines = brief(item);
    lines.truncate(1);
    lines.extend(FACTS.iter().filter_map(|template| fill(template, &item.value)).map(|fact| format!("    {fact}")));
    for (list, template) in LISTS {
        for entry in item.value[*list].as_array().into_iter().flatten() {
            lines.extend(fill(template, entry).map(|text| format!("    {text}")));
            lines.extend(components(&item.value["metrics"], entry).map(|text| format!("      {text}")));
        }
    }
    lines.push(format!("    {} {}, {}", item.record.kind.name(), item.id, item.place()));
    lines.extend(item.proof.as_ref().map(|proof| format!("    proof: {}", proven(proof))));
    lines
}

/// What each metric gives to a window's score.
fn components<'v>(metrics: &'v Value, window: &'v Value) -> impl Iterator<Item = String> + 'v {
    let both = metrics.as_array().into_iter().flatten().zip(window["components"].as_array().into_iter().flatten());
    both.filter_map(|(metric, component)| Some(format!("{} {}", metric.as_str()?, fill("is {value}, gives {contribution}", component)?)))
}

fn proven(proof: &Proof) -> String {
    let Proof { index, chain, sequence, cause, signed_by } = proof;
    let (chain, lineage) = chain.rsplit_once('/').unwrap_or((chain, ""));
    // The first lineage needs no name.
    let lineage = cause.as_ref().map_or(String::new(), |Cause { partition, reason, .. }| {
        format!(" of lineage {lineage} (begun since {partition} differed: {reason})")
    });
    let signed = match signed_by {
        Some(by) if by == index => "signed".into(),
        Some(by) => format!("covered by the signature of leaf {by}"),
        None => "NOT SIGNED".into(),
    };
    format!("leaf {index} of the audit log, place {sequence} in chain {chain}{lineage}, {signed}")
}

/// A template with the fields of a record.
fn fill(template: &str, value: &Value) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, (field, after))) = rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        text.push_str(before);
        text.push_str(&show(field, value.pointer(&format!("/{field}"))?)?);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

fn show(field: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(if *flag { "yes" } else { "no" }.into()),
        Value::Number(number) if MILLI.contains(&field) => number.as_u64().map(gpus),
        other => Some(other.to_string()),
    }
}

fn gpus(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    let unit = if milli == 1_000 { "GPU" } else { "GPUs" };
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_takes_fields_and_falls_away_where_one_is_missing() {
        let value =
            json!({ "pool": "a", "delta": 1_500, "amount": 1_000, "inner": { "low": 0.5 }, "none": null, "allow": false, "empty": "" });
        for (template, wanted) in [
            ("{pool}: {delta}", Some("a: 1.5 GPUs")),
            ("{amount}", Some("1 GPU")),
            ("from {inner/low}", Some("from 0.5")),
            ("may pass: {allow}", Some("may pass: no")),
            ("{none}", None),
            ("{empty}", None),
            ("{unknown} and {pool}", None),
            ("plain", Some("plain")),
        ] {
            assert_eq!(fill(template, &value).as_deref(), wanted, "{template}");
        }
    }

    /// A field that no schema has would leave its sentence out without a word.
    #[test]
    fn every_sentence_names_fields_of_its_record() {
        for (kind, template) in SENTENCES {
            let merit_core::Shape::Record(_, fields) = kind.shape() else { panic!("{} is a record", kind.name()) };
            for field in template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(field, _)| field) {
                let known = |name: &str| name.replace('_', "").eq_ignore_ascii_case(field);
                assert!(fields.iter().any(|known_field| known(known_field.name)), "{}: {field}", kind.name());
            }
        }
    }
}
