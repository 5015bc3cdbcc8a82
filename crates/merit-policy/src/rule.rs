//! The closed set of rules that can hold an allocation back.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use merit_core::record::Blocker;
use merit_core::{Code, codes, datum_enum};

/// The policy id of a verdict that nothing speaks against.
pub const ALLOW: &str = "sentinel-allow";

codes! {
    /// Every rule that can hold an allocation back, most severe first.
    RULES exits 0 {
        DENY_POOL "sentinel-deny-pool" "the policy denies the pool", "ask another pool, or change the policy";
        POOL_UNKNOWN "pool_unknown" "there is no such pool", "define it by `merit pools apply`, or name another in the profile";
        MAX_DELTA "sentinel-max-delta" "the request asks for more than the policy lets one request have", "ask for less, or change the policy";
        EXCEEDS_MAX_QUOTA "exceeds_max_quota" "the request asks for more than its division could ever hold", "ask for less, or raise the quota by `merit pools apply`";
        POOL_HELD "pool_held" "the pool gives nothing for now", "set its state to open by `merit pools apply`; the request waits";
        LOW_CONFIDENCE "low_confidence" "the trust behind the request is too low to pass without a person", "approve or reject it";
        REQUEST_COOLDOWN "request_cooldown" "the agent asked too short a time ago", "nothing: it goes on when `request_cooldown` has passed";
        AWAITING_APPROVAL "awaiting_approval" "a person has to approve", "approve or reject it";
        WAITING_FOR_QUOTA "waiting_for_quota" "the division holds too much now", "nothing: it goes on when units come back; or raise the quota";
        WAITING_FOR_CAPACITY "waiting_for_capacity" "the pool has too little now", "nothing: it goes on when units come back; or add capacity";
    }
}

datum_enum! {
    /// What lets a blocked request pass, the hardest to come by first.
    Cure {
        /// Nothing: it is rejected.
        Nothing,
        /// A person who approves.
        Person,
        /// Ledger time that passes.
        Time,
        /// Units that come free.
        Units,
    }
}

/// A reason why a request does not pass, most severe first.
///
/// Invariant: a rule that rejects is more severe than every rule that only delays, so the most severe one decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Its pool is denied; wins over a pool that is not there.
    DenyPool,
    /// Its pool is not there.
    PoolUnknown,
    /// It asks for more than one request may.
    MaxDelta,
    /// It asks for more than its division could ever hold.
    ExceedsMaxQuota,
    /// Its pool gives nothing for now.
    PoolHeld,
    /// The trust behind it is too low to pass without a person.
    LowConfidence,
    /// Its entity asked too short a time ago.
    RequestCooldown,
    /// A person has to approve it.
    AwaitingApproval,
    /// Its division holds too much now.
    WaitingForQuota,
    /// Its pool has too little now.
    WaitingForCapacity,
}

impl Rule {
    /// Every rule, most severe first.
    pub const ALL: &'static [Rule] = &[
        Rule::DenyPool,
        Rule::PoolUnknown,
        Rule::MaxDelta,
        Rule::ExceedsMaxQuota,
        Rule::PoolHeld,
        Rule::LowConfidence,
        Rule::RequestCooldown,
        Rule::AwaitingApproval,
        Rule::WaitingForQuota,
        Rule::WaitingForCapacity,
    ];

    /// What it means, and what a person can do.
    pub const fn code(self) -> &'static Code {
        match self {
            Rule::DenyPool => DENY_POOL,
            Rule::PoolUnknown => POOL_UNKNOWN,
            Rule::MaxDelta => MAX_DELTA,
            Rule::ExceedsMaxQuota => EXCEEDS_MAX_QUOTA,
            Rule::PoolHeld => POOL_HELD,
            Rule::LowConfidence => LOW_CONFIDENCE,
            Rule::RequestCooldown => REQUEST_COOLDOWN,
            Rule::AwaitingApproval => AWAITING_APPROVAL,
            Rule::WaitingForQuota => WAITING_FOR_QUOTA,
            Rule::WaitingForCapacity => WAITING_FOR_CAPACITY,
        }
    }

    /// The name that records carry.
    pub const fn name(self) -> &'static str {
        self.code().name
    }

    /// The rule of that name.
    pub fn from_name(name: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// What lets a request pass that this rule holds back.
    pub const fn cure(self) -> Cure {
        match self {
            Rule::DenyPool | Rule::PoolUnknown | Rule::MaxDelta | Rule::ExceedsMaxQuota => Cure::Nothing,
            Rule::LowConfidence | Rule::AwaitingApproval => Cure::Person,
            Rule::RequestCooldown => Cure::Time,
            Rule::PoolHeld | Rule::WaitingForQuota | Rule::WaitingForCapacity => Cure::Units,
        }
    }
}

/// A rule that speaks against one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What was found, for a person.
    pub detail: String,
}

impl Finding {
    /// The finding as records carry it.
    pub fn blocker(&self) -> Blocker<'_> {
        Blocker { rule: self.rule.name(), detail: &self.detail }
    }
}

/// The findings, most severe first.
pub fn rank(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.rule);
    findings
}

/// What the rules wait for together: the cure that is hardest to come by; none where there is no rule.
pub fn cure(rules: impl IntoIterator<Item = Rule>) -> Option<Cure> {
    rules.into_iter().map(Rule::cure).min()
}

/// Milli-GPUs, shown as GPUs: `2`, `0.5`.
pub struct Gpus(pub u64);

impl fmt::Display for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, milli) = (self.0 / 1_000, self.0 % 1_000);
        match milli {
            0 => write!(f, "{whole}"),
            _ if milli % 100 == 0 => write!(f, "{whole}.{}", milli / 100),
            _ if milli % 10 == 0 => write!(f, "{whole}.{:02}", milli / 10),
            _ => write!(f, "{whole}.{milli:03}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_ranked_and_all_that_reject_come_first() {
        assert!(Rule::ALL.is_sorted());
        let rejects: Vec<bool> = Rule::ALL.iter().map(|rule| rule.cure() == Cure::Nothing).collect();
        assert!(rejects.is_sorted_by(|a, b| a >= b), "{rejects:?}");
        for rule in Rule::ALL {
            assert_eq!(Rule::from_name(rule.name()), Some(*rule));
        }
        assert_eq!(Rule::from_name(ALLOW), None);
    }

    #[test]
    fn rules_together_wait_for_the_hardest_cure() {
        use Rule::*;
        for (rules, expected) in [
            (&[][..], None),
            (&[WaitingForQuota], Some(Cure::Units)),
            (&[RequestCooldown, WaitingForQuota], Some(Cure::Time)),
            (&[RequestCooldown, AwaitingApproval], Some(Cure::Person)),
            (&[MaxDelta, LowConfidence], Some(Cure::Nothing)),
        ] {
            assert_eq!(cure(rules.iter().copied()), expected, "{rules:?}");
        }
    }

    #[test]
    fn milli_gpus_are_shown_as_gpus() {
        for (milli, text) in [(0, "0"), (1_000, "1"), (1_500, "1.5"), (250, "0.25"), (1, "0.001")] {
            assert_eq!(std::format!("{}", Gpus(milli)), text);
        }
    }
}
