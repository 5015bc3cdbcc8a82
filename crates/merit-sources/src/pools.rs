//! Pools and quotas from a TOML file.
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `[[pools]]` `name` | text, at most 256 bytes | the pool, once |
//! | `capacity` | whole GPUs | all that it has |
//! | `state` | `"open"` (default) or `"hold"` | whether it gives |
//! | `[pools.quotas]` | division = whole GPUs | what a division may hold; together at most the capacity |

use crate::document::{Problems, Section};
use merit_core::MAX_NAME;
use merit_core::record::PoolState;

/// A pool. The quotas sum to its capacity at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// All units, in milli-GPUs.
    pub capacity: u64,
    /// Whether it gives.
    pub state: PoolState,
    /// By division, sorted, each once.
    pub quotas: Vec<Quota>,
}

/// A division's share of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The division.
    pub division: String,
    /// What it may hold, in milli-GPUs.
    pub nominal: u64,
}

/// Milli-GPUs of one GPU.
const MILLI: u64 = 1_000;

/// The most GPUs of a pool: as many as a record can hold in milli-GPUs.
const MOST: u64 = i64::MAX as u64 / MILLI;

/// Reads a pools file, in its order. Fails with everything that is wrong with it, by line.
pub fn parse(text: &str) -> Result<Vec<Pool>, Vec<String>> {
    let (document, mut problems) = Problems::parse(text)?;
    let root = Section::root(&document);
    root.allow(&["pools"], &mut problems);
    let sections = root.sections("pools", &mut problems).or_else(|| root.missing("pools", &mut problems));
    let mut pools: Vec<Pool> = Vec::new();
    for section in sections.unwrap_or_default() {
        let Some(pool) = pool(section, &mut problems) else { continue };
        if pools.iter().any(|other| other.name == pool.name) {
            problems.add(section.at("name"), format!("pool {:?} is there twice", pool.name));
        }
        pools.push(pool);
    }
    problems.finish(Some(pools))
}

fn pool(section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Pool> {
    section.allow(&["name", "capacity", "state", "quotas"], problems);
    let name = section.text("name", problems).or_else(|| section.missing("name", problems));
    let capacity = gpus(section, "capacity", problems);
    let state = state(section, problems);
    let quotas = section.section("quotas", problems).map(|quotas| read_quotas(quotas, problems)).unwrap_or_default();
    let (name, capacity) = (name?, capacity?);
    if name.len() > MAX_NAME {
        problems.add(section.at("name"), "`name` must be at most 256 bytes long");
    }
    let granted: u128 = quotas.iter().map(|quota| u128::from(quota.nominal)).sum();
    if granted > u128::from(capacity) {
        let (granted, capacity) = (granted / u128::from(MILLI), capacity / MILLI);
        problems.add(section.at("quotas"), format!("quotas of pool {name:?} sum to {granted}, more than its capacity {capacity}"));
    }
    Some(Pool { name: name.into(), capacity, state, quotas })
}

fn read_quotas(section: Section<'_, '_>, problems: &mut Problems<'_>) -> Vec<Quota> {
    let mut quotas = Vec::new();
    for (division, at) in section.keys() {
        if !(1..=MAX_NAME).contains(&division.len()) {
            problems.add(at, "a quota must name a division in 1 to 256 bytes");
        }
        quotas.extend(gpus(section, division, problems).map(|nominal| Quota { division: division.into(), nominal }));
    }
    quotas.sort_by(|one, other| one.division.cmp(&other.division));
    quotas
}

fn state(section: Section<'_, '_>, problems: &mut Problems<'_>) -> PoolState {
    match section.text("state", problems) {
        None | Some("open") => PoolState::Open,
        Some("hold") => PoolState::Hold,
        Some(other) => {
            problems.add(section.at("state"), format!("`state` must be open or hold, not {other:?}"));
            PoolState::Hold
        }
    }
}

fn gpus(section: Section<'_, '_>, key: &str, problems: &mut Problems<'_>) -> Option<u64> {
    let count = section.whole(key, problems).or_else(|| section.missing(key, problems))?;
    if count > MOST {
        problems.add(section.at(key), format!("`{key}` must be at most {MOST}"));
        return None;
    }
    Some(count * MILLI)
}
