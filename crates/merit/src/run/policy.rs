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
pub(crate) struct Policy {
    deny_pools: Vec<String>,
    /// In milli-GPUs.
    max_delta: Option<u64>,
}

impl Policy {
    /// Whether these are others than those whose encoding was `before`; without any, nothing is denied.
    pub(crate) fn differs(&self, before: Option<&[u8]>) -> bool {
        self.encoding() != before.map_or_else(|| Policy::default().encoding(), <[u8]>::to_vec)
    }

    /// The encoding of their record.
    fn encoding(&self) -> Vec<u8> {
        self.with_record(|bundle| {
            let mut bytes = Vec::new();
            bundle.put(&mut bytes);
            bytes
        })
    }

    /// Shows them as a record.
    pub(crate) fn with_record<R>(&self, then: impl FnOnce(&PolicyBundle<'_>) -> R) -> R {
        let names: Vec<&str> = self.deny_pools.iter().map(String::as_str).collect();
        then(&PolicyBundle { deny_pools: List::Slice(&names), max_delta: self.max_delta })
    }
}

/// Reads the environment.
pub(crate) fn from_environment() -> Result<Policy, Failure> {
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

/// The command that sets rules, from now on.
pub(crate) fn input<'a>(partition: usize, bundle: &'a PolicyBundle<'a>) -> Input<'a> {
    Input { partition, key: Key::new("policy"), time: now(), payload: Payload::PolicyBundle(bundle), headers: None }
}

/// Appends the rules where they are not those that the log has from the environment already.
pub(super) fn put_in_force(engine: &mut Engine, policy: &Policy) -> Result<(), Failure> {
    let row = policy.encoding();
    let before = engine.store().meta(ROW)?;
    if !policy.differs(before.as_deref()) {
        return Ok(());
    }
    let Some(partition) = engine.layout().find("alloc.requests", 0) else { return Ok(()) };
    policy.with_record(|bundle| engine.take(&input(partition, bundle)))?;
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
