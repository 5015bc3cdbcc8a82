//! Judgements about units, as functions of a pool.

use crate::rule;
use crate::state::{Division, Pool};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::Code;
use merit_core::record::PoolState;
use merit_policy::{Finding, Gpus, Rule};

/// The largest capacity of a pool, in milli-GPUs: sums of a pool's balances stay far within 63 bits.
pub(crate) const MAX_CAPACITY: u64 = 1 << 60;

/// The division of an entity that was not heard of.
pub(crate) const DEFAULT_DIVISION: &str = "default";

/// What the ledger says against a grant of `delta` to a division now, most severe first.
///
/// `nominal` is what the division may hold at most: its quota, none of it where only others have one, and all of the pool where
/// nobody has. Quotas of others are kept free for them: C - sum over the others of max(used, nominal) - own use is left.
pub(crate) fn judge(pool: &Pool, division: &str, delta: u64) -> Vec<Finding> {
    let none = Division::default();
    let own = pool.divisions.get(division).unwrap_or(&none);
    let quotas = pool.divisions.values().any(|division| division.nominal.is_some());
    let nominal = if quotas { own.nominal.unwrap_or(0) } else { pool.capacity };
    let in_quota = nominal.saturating_sub(own.used);
    let in_pool = left_for(pool, division);
    let finding = |holds: bool, rule: Rule, detail: &dyn Fn() -> String| holds.then(|| Finding { rule, detail: detail() });
    let asked = Gpus(delta);
    let findings = [
        finding(nominal < delta, Rule::ExceedsMaxQuota, &|| {
            format!("{asked} GPUs exceed {}, the most that division {division:?} may hold", Gpus(nominal))
        }),
        finding(pool.state == PoolState::Hold, Rule::PoolHeld, &|| "the pool gives nothing for now".into()),
        finding(quotas && in_quota < delta, Rule::WaitingForQuota, &|| {
            format!("{asked} GPUs are asked for and division {division:?} has {} left of {}", Gpus(in_quota), Gpus(nominal))
        }),
        finding(in_pool < delta, Rule::WaitingForCapacity, &|| {
            format!("{asked} GPUs are asked for and the pool has {} left of {}", Gpus(in_pool), Gpus(pool.capacity))
        }),
    ];
    findings.into_iter().flatten().collect()
}

fn left_for(pool: &Pool, division: &str) -> u64 {
    let taken = |(name, other): (&String, &Division)| {
        if name == division { other.used } else { other.used.max(other.nominal.unwrap_or(0)) }
    };
    pool.capacity.saturating_sub(pool.divisions.iter().map(taken).sum())
}

/// Whether a pool has units that nobody uses, and someone who waits for them.
pub(crate) fn worth_a_recheck(pool: &Pool) -> bool {
    pool.free.available() > 0 && pool.state == PoolState::Open && !pool.waiting.is_empty()
}

/// The rule that a definition of a pool breaks.
pub(crate) fn refuse_definition(pool: Option<&Pool>, capacity: u64) -> Option<(&'static Code, String)> {
    if MAX_CAPACITY < capacity {
        return Some((rule::CAPACITY_TOO_LARGE, format!("capacity {} exceeds {}", Gpus(capacity), Gpus(MAX_CAPACITY))));
    }
    let quotas = pool.map_or(0, |pool| pool.divisions.values().filter_map(|division| division.nominal).sum());
    (capacity < quotas).then(|| (rule::QUOTA_EXCEEDS_CAPACITY, exceeds(quotas, capacity)))
}

/// The rule that a quota breaks.
pub(crate) fn refuse_quota(pool: Option<&Pool>, division: &str, nominal: u64) -> Option<(&'static Code, String)> {
    let Some(pool) = pool else {
        return Some((rule::POOL_UNKNOWN, "the pool has to be defined first".into()));
    };
    let others: u64 = pool.divisions.iter().filter(|(name, _)| *name != division).filter_map(|(_, other)| other.nominal).sum();
    let quotas = others.saturating_add(nominal);
    (pool.capacity < quotas).then(|| (rule::QUOTA_EXCEEDS_CAPACITY, exceeds(quotas, pool.capacity)))
}

fn exceeds(quotas: u64, capacity: u64) -> String {
    format!("the quotas sum to {} GPUs and the capacity is {}", Gpus(quotas), Gpus(capacity))
}
