//! What becomes of a job, as functions of what was said.

use crate::rule;
use alloc::format;
use alloc::string::String;
use merit_core::record::{Flaw, Outcome};
use merit_core::{Code, Uuid};
use merit_policy::Gpus;

/// What the entities of jobs begin with.
pub(crate) const PREFIX: &str = "retrain:";

/// The entity that holds a job's GPUs.
pub(crate) fn entity(job: Uuid) -> String {
    format!("{PREFIX}{job}")
}

/// Why a job asks for GPUs.
pub(crate) fn reason(model_family: &str, gpu_hours: u64) -> String {
    format!("retrain {model_family}: {} GPU hours", Gpus(gpu_hours))
}

/// The rule that a command breaks.
pub(crate) fn rule_of(flaw: &Flaw) -> &'static Code {
    match (flaw.field(), flaw) {
        ("modelFamily", _) => rule::MODEL_FAMILY_INVALID,
        ("datasetRefs", Flaw::TooMany { .. }) => rule::DATASET_REFS_COUNT,
        ("datasetRefs", _) => rule::DATASET_REF_INVALID,
        _ => rule::TEXT_INVALID,
    }
}

/// Why a job failed whose allocation came to that; none where it goes on.
pub(crate) fn failure(outcome: Outcome, reason: &str) -> Option<String> {
    match outcome {
        Outcome::Confirmed => None,
        Outcome::Rejected => Some(format!("allocation rejected: {reason}")),
        Outcome::Released => Some(format!("allocation released before the job ran: {reason}")),
    }
}
