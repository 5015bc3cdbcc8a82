//! The static rules that operators set.

use crate::{Finding, Gpus, Rule};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use merit_core::List;
use merit_core::record::PolicyBundle;

/// The static rules in force. The default denies no pool and has no greatest delta.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Pools that give nothing, in the order of the record: so it encodes to the bytes that its digest was taken of.
    deny_pools: Vec<String>,
    max_delta: Option<u64>,
}

impl Bundle {
    /// Takes the rules of a record.
    pub fn read(record: &PolicyBundle<'_>) -> Bundle {
        Bundle { deny_pools: record.deny_pools.iter().map(str::to_string).collect(), max_delta: record.max_delta }
    }

    /// Shows the record that [`Bundle::read`] took.
    pub fn with_record<R>(&self, then: impl FnOnce(&PolicyBundle<'_>) -> R) -> R {
        let deny_pools: Vec<&str> = self.deny_pools.iter().map(String::as_str).collect();
        then(&PolicyBundle { deny_pools: List::Slice(&deny_pools), max_delta: self.max_delta })
    }

    /// What speaks against `delta` milli-GPUs of a pool whatever the state of the world.
    pub fn judge(&self, pool: &str, delta: u64) -> Vec<Finding> {
        let denied = self.deny_pools.iter().any(|denied| denied == pool);
        let limit = self.max_delta.filter(|most| delta > *most);
        let findings = [
            denied.then(|| Finding { rule: Rule::DenyPool, detail: format!("pool {pool:?} is denied") }),
            limit.map(|most| Finding {
                rule: Rule::MaxDelta,
                detail: format!("delta {} exceeds {}, the most for one request", Gpus(delta), Gpus(most)),
            }),
        ];
        findings.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_rules_judge_pool_and_delta() {
        let bundle = Bundle { deny_pools: ["b".into(), "a".into()].into(), max_delta: Some(2_000) };
        for (pool, delta, expected) in [
            ("x", 2_000, &[][..]), // just at the most
            ("x", 2_001, &["sentinel-max-delta"]),
            ("a", 1_000, &["sentinel-deny-pool"]),
            ("b", 9_000, &["sentinel-deny-pool", "sentinel-max-delta"]),
        ] {
            let found: Vec<&str> = bundle.judge(pool, delta).iter().map(|finding| finding.rule.name()).collect();
            assert_eq!(found, expected, "{pool} {delta}");
        }
        assert_eq!(Bundle::default().judge("a", u64::MAX), []);
        assert_eq!(bundle.with_record(Bundle::read), bundle);
    }
}
