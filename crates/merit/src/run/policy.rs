//! Static rules from the environment, as seed 001 names them: a command in the log, appended when they changed.

use crate::code;
use crate::failure::Failure;
use merit_core::record::PolicyBundle;
use merit_core::{Datum, Key, List, MAX_NAME, Payload};
use merit_runtime::live::now;
use merit_runtime::{Engine, Input};

const DENY_POOLS: &str = "RESOURCE_ALLOCATOR_DENY_POOLS";
const MAX_DELTA: &str = "RESOURCE_ALLOCATOR_MAX_DELTA";

/// The row that says which rules of the environment are in the log.
const ROW: &str = "policy/environment";

/// Rules of the environment.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Policy {
    deny_pools: Vec<String>,
    /// In milli-GPUs.
    max_delta: Option<u64>,
}

/// Reads the environment.
pub(super) fn from_environment() -> Result<Policy, Failure> {
    read(std::env::var(DENY_POOLS).ok().as_deref(), std::env::var(MAX_DELTA).ok().as_deref())
}

fn read(deny_pools: Option<&str>, max_delta: Option<&str>) -> Result<Policy, Failure> {
    let deny_pools: Vec<String> =
        deny_pools.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect();
    if let Some(long) = deny_pools.iter().find(|name| name.len() > MAX_NAME) {
        return Err(Failure::new(code::ENVIRONMENT_INVALID, format!("{DENY_POOLS} names a pool of {} bytes", long.len())));
    }
    let max_delta = max_delta.map(str::trim).filter(|text| !text.is_empty()).map(|text| {
        let gpus = text.parse::<u64>().ok().and_then(|gpus| gpus.checked_mul(1_000)).filter(|milli| i64::try_from(*milli).is_ok());
        gpus.ok_or_else(|| Failure::new(code::ENVIRONMENT_INVALID, format!("{MAX_DELTA} is {text:?}, which is no number of whole GPUs")))
    });
    Ok(Policy { deny_pools, max_delta: max_delta.transpose()? })
}

/// Appends the rules where they are not those that the log has from the environment already.
pub(super) fn put_in_force(engine: &mut Engine, policy: &Policy) -> Result<(), Failure> {
    let names: Vec<&str> = policy.deny_pools.iter().map(String::as_str).collect();
    let bundle = PolicyBundle { deny_pools: List::Slice(&names), max_delta: policy.max_delta };
    let mut row = Vec::new();
    bundle.put(&mut row);
    let before = engine.store().meta(ROW)?;
    if before.as_ref() == Some(&row) || (before.is_none() && *policy == Policy::default()) {
        return Ok(());
    }
    let Some(partition) = engine.layout().find("alloc.requests", 0) else { return Ok(()) };
    let (key, payload) = (Key::new("policy"), Payload::PolicyBundle(&bundle));
    engine.take(&Input { partition, key, time: now(), payload, headers: None })?;
    engine.commit(vec![(ROW.into(), row)])?;
    Ok(engine.settle()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_seed_001_writes_it() {
        let policy = |names: &[&str], max_delta| Policy { deny_pools: names.iter().map(|name| (*name).into()).collect(), max_delta };
        let cases = [
            (None, None, Some(policy(&[], None))),
            (Some(""), Some(" "), Some(policy(&[], None))),
            (Some("a, b,,c "), Some("1"), Some(policy(&["a", "b", "c"], Some(1_000)))),
            (None, Some("0"), Some(policy(&[], Some(0)))),
            (None, Some("-1"), None),
            (None, Some("one"), None),
            (None, Some("18446744073709551615"), None),
        ];
        for (deny_pools, max_delta, expected) in cases {
            assert_eq!(read(deny_pools, max_delta).ok(), expected, "{deny_pools:?} {max_delta:?}");
        }
    }
}
