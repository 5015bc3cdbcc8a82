//! What the texts and amounts of a command may be: one answer for every processor that it reaches.

use super::Payload;
use crate::MAX_NAME;
use core::fmt;

/// The longest rationale or reason of a command, in bytes.
pub const MAX_TEXT: usize = 4_096;
/// The most dataset references of a job.
pub const MAX_REFS: usize = 64;
/// The longest dataset reference, in bytes.
pub const MAX_REF: usize = 1_024;

/// What is wrong with a record by itself, whatever the state of the world. `field` is its name in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Flaw {
    /// A text that must say something is empty.
    Empty { field: &'static str },
    /// A text has more than `most` bytes.
    TooLong { field: &'static str, length: usize, most: usize },
    /// A list has more than `most` items.
    TooMany { field: &'static str, count: usize, most: usize },
    /// An amount is nothing.
    Zero { field: &'static str },
}

impl Flaw {
    /// Where it is.
    pub fn field(&self) -> &'static str {
        match self {
            Flaw::Empty { field } | Flaw::TooLong { field, .. } | Flaw::TooMany { field, .. } | Flaw::Zero { field } => field,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Empty { field } => write!(f, "{field} is empty"),
            Flaw::TooLong { field, length, most } => write!(f, "{field} of {length} bytes is longer than {most}"),
            Flaw::TooMany { field, count, most } => write!(f, "{count} {field} are more than {most}"),
            Flaw::Zero { field } => write!(f, "{field} is not above 0"),
        }
    }
}

/// A name or an id: 1 to [`MAX_NAME`] bytes.
pub fn name(field: &'static str, value: &str) -> Option<Flaw> {
    bounded(field, value, MAX_NAME)
}

fn bounded(field: &'static str, value: &str, most: usize) -> Option<Flaw> {
    if value.is_empty() { Some(Flaw::Empty { field }) } else { text(field, value, most) }
}

fn text(field: &'static str, value: &str, most: usize) -> Option<Flaw> {
    let length = value.len();
    (length > most).then_some(Flaw::TooLong { field, length, most })
}

/// A claim on who did something: up to [`MAX_NAME`] bytes.
fn claim(field: &'static str, value: &str) -> Option<Flaw> {
    text(field, value, MAX_NAME)
}

/// Words for a person: up to [`MAX_TEXT`] bytes.
fn words(field: &'static str, value: &str) -> Option<Flaw> {
    text(field, value, MAX_TEXT)
}

fn amount(field: &'static str, value: u64) -> Option<Flaw> {
    (value == 0).then_some(Flaw::Zero { field })
}

impl Payload<'_> {
    /// The first flaw of a command, or of what a cluster says; none of any other record.
    #[allow(clippy::wildcard_enum_match_arm, reason = "what processors write is bounded by what they read")]
    pub fn flaw(&self) -> Option<Flaw> {
        let optional =
            |check: fn(&'static str, &str) -> Option<Flaw>, field, value: Option<&str>| value.and_then(|value| check(field, value));
        match self {
            Payload::ProposePromotion(it) => name("agentId", it.agent_id)
                .or_else(|| words("rationale", it.rationale))
                .or_else(|| claim("requestedBy", it.requested_by))
                .or_else(|| optional(name, "pool", it.pool))
                .or_else(|| it.delta.and_then(|delta| amount("delta", delta))),
            Payload::AssignEntity(it) => name("agentId", it.agent_id)
                .or_else(|| name("divisionId", it.division_id))
                .or_else(|| optional(name, "productId", it.product_id)),
            Payload::RequestAllocation(it) => holder(it.agent_id, it.pool)
                .or_else(|| optional(name, "divisionId", it.division_id))
                .or_else(|| amount("delta", it.delta))
                .or_else(|| motive(it.reason, it.requested_by)),
            Payload::Approve(it) => claim("approvedBy", it.approved_by),
            Payload::Reject(it) => words("rationale", it.rationale)
                .or_else(|| optional(claim, "policyId", it.policy_id))
                .or_else(|| optional(claim, "rejectedBy", it.rejected_by)),
            Payload::Release(it) => holder(it.agent_id, it.pool).or_else(|| motive(it.reason, it.requested_by)),
            Payload::Preempt(it) => {
                holder(it.agent_id, it.pool).or_else(|| amount("delta", it.delta)).or_else(|| motive(it.reason, it.requested_by))
            }
            Payload::CreateRetrain(it) => {
                let (count, most) = (it.dataset_refs.len(), MAX_REFS);
                let many = (count > most).then_some(Flaw::TooMany { field: "datasetRefs", count, most });
                name("modelFamily", it.model_family)
                    .or(many)
                    .or_else(|| it.dataset_refs.iter().find_map(|dataset| bounded("datasetRefs", dataset, MAX_REF)))
                    .or_else(|| optional(name, "divisionId", it.division_id))
                    .or_else(|| claim("requestedBy", it.requested_by))
            }
            Payload::DefinePool(it) => name("pool", it.pool),
            Payload::SetQuota(it) => name("pool", it.pool).or_else(|| name("divisionId", it.division_id)),
            Payload::Acked(it) => holder(it.agent_id, it.pool).or_else(|| words("externalRef", it.external_ref)),
            Payload::Observed(it) => holder(it.agent_id, it.pool),
            Payload::Refused(it) => holder(it.agent_id, it.pool).or_else(|| words("reason", it.reason)),
            _ => None,
        }
    }
}

fn holder(agent_id: &str, pool: &str) -> Option<Flaw> {
    name("agentId", agent_id).or_else(|| name("pool", pool))
}

fn motive(reason: &str, requested_by: &str) -> Option<Flaw> {
    words("reason", reason).or_else(|| claim("requestedBy", requested_by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::List;
    use crate::record::{AssignEntity, CreateRetrain, Preempt, Tick};
    use std::string::ToString;

    #[test]
    fn a_text_or_amount_out_of_bounds_is_named_by_its_field() {
        let (most, over) = ("ü".repeat(128), "ü".repeat(128) + "x");
        let good = Preempt { agent_id: &most, pool: &most, delta: 1, reason: "", requested_by: "" };
        let long = "x".repeat(MAX_TEXT + 1);
        for (preempt, flaw) in [
            (good, None),
            (Preempt { reason: &long[1..], requested_by: &most, ..good }, None),
            (Preempt { agent_id: "", delta: 0, ..good }, Some("agentId is empty")),
            (Preempt { agent_id: &over, ..good }, Some("agentId of 257 bytes is longer than 256")),
            (Preempt { pool: "", ..good }, Some("pool is empty")),
            (Preempt { delta: 0, ..good }, Some("delta is not above 0")),
            (Preempt { reason: &long, ..good }, Some("reason of 4097 bytes is longer than 4096")),
            (Preempt { requested_by: &over, ..good }, Some("requestedBy of 257 bytes is longer than 256")),
        ] {
            assert_eq!(Payload::from(&preempt).flaw().map(|flaw| flaw.to_string()).as_deref(), flaw);
        }
    }

    #[test]
    fn what_may_be_left_out_is_checked_where_it_is_there() {
        let assign = |product_id| AssignEntity { agent_id: "a", division_id: "d", product_id };
        assert_eq!(Payload::from(&assign(None)).flaw(), None);
        assert_eq!(Payload::from(&assign(Some(""))).flaw(), Some(Flaw::Empty { field: "productId" }));
        assert_eq!(Payload::from(&Tick { time: crate::EventTime(0) }).flaw(), None);
    }

    #[test]
    fn a_job_has_up_to_64_references() {
        let (refs, long) = (["s3://a"; MAX_REFS + 1], "x".repeat(MAX_REF + 1));
        for (refs, flaw) in [
            (&refs[1..], None),
            (&refs[..], Some("65 datasetRefs are more than 64")),
            (&[][..], None),
            (&["a", ""], Some("datasetRefs is empty")),
            (&[&long[1..]], None),
            (&[&long[..]], Some("datasetRefs of 1025 bytes is longer than 1024")),
        ] {
            let dataset_refs = List::Slice(refs);
            let job = CreateRetrain { model_family: "m", dataset_refs, priority: 0, division_id: None, requested_by: "" };
            assert_eq!(Payload::from(&job).flaw().map(|flaw| flaw.to_string()).as_deref(), flaw);
        }
    }
}
