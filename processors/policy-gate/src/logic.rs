//! The verdict, as a function of what is known.

use alloc::format;
use alloc::vec::Vec;
use merit_core::{Duration, EventTime, Fixed};
use merit_policy::rule::rank;
use merit_policy::{Bundle, Cure, Finding, Rule};

/// What is judged, and what the gate knows about it.
pub(crate) struct Case<'a> {
    pub pool: &'a str,
    /// Milli-GPUs asked for.
    pub delta: u64,
    pub pool_known: bool,
    /// When the entity's next request may pass.
    pub next_free: EventTime,
    /// When it is judged.
    pub now: EventTime,
    pub backing: Backing,
}

/// Who stands behind a request.
#[derive(Clone, Copy)]
pub(crate) enum Backing {
    /// A person will have to; nothing is judged before.
    PersonToCome,
    /// A person approved it.
    Person,
    /// A promotion, with its trust, where `least` is asked for.
    Promotion { confidence: Option<Fixed>, least: Fixed },
}

/// Everything that speaks against a case, most severe first.
pub(crate) fn judge(case: &Case<'_>, bundle: &Bundle) -> Vec<Finding> {
    let doubt = match case.backing {
        Backing::PersonToCome => return [Finding { rule: Rule::AwaitingApproval, detail: "a person has to approve".into() }].into(),
        Backing::Person => None,
        Backing::Promotion { confidence, least } => low_confidence(confidence, least),
    };
    let Case { pool, next_free, .. } = case;
    let unknown = (!case.pool_known).then(|| Finding { rule: Rule::PoolUnknown, detail: format!("there is no pool {pool:?}") });
    let early = (case.now < *next_free).then(|| Finding {
        rule: Rule::RequestCooldown,
        detail: format!("the entity asked too short a time ago; it may again at {next_free}"),
    });
    let mut findings = bundle.judge(pool, case.delta);
    findings.extend([unknown, doubt, early].into_iter().flatten());
    rank(findings)
}

fn low_confidence(confidence: Option<Fixed>, least: Fixed) -> Option<Finding> {
    let detail = match confidence {
        Some(confidence) if confidence >= least => return None,
        None if least <= Fixed::ZERO => return None,
        Some(confidence) => format!("confidence {confidence} is below {least}; a person has to approve"),
        None => format!("no confidence is stated and {least} is asked for; a person has to approve"),
    };
    Some(Finding { rule: Rule::LowConfidence, detail })
}

/// When the next request of the entity may pass, after this verdict.
///
/// A request that comes too early takes the next place in line, so a burst is spread and not let through at once.
/// One that is rejected, or waits for a person, takes none.
pub(crate) fn next_free(case: &Case<'_>, findings: &[Finding], cooldown: Duration) -> EventTime {
    match merit_policy::rule::cure(findings.iter().map(|finding| finding.rule)) {
        Some(Cure::Nothing | Cure::Person) => case.next_free,
        Some(Cure::Time | Cure::Units) | None => case.now.max(case.next_free) + cooldown,
    }
}
