//! Pools and quotas, and those who wait for them.

use crate::ledger::{Accounts, transfers};
use crate::life::Step;
use crate::logic::{refuse_definition, refuse_quota, worth_a_recheck};
use crate::state::Target;
use alloc::vec::Vec;
use core::ops::Bound;
use merit_core::record::{DefinePool, PoolDefined, QuotaSet, Recheck, SetQuota};
use merit_core::{Fault, Key, List, Uuid};

/// Allocations that one Recheck looks at; design 4.
const BATCH: usize = 256;

impl Step<'_, '_> {
    /// Creates a pool or changes its size. Units in use stay: a pool under its use gives nothing until enough came back.
    pub(crate) fn define_pool(&mut self, definition: &DefinePool<'_>) -> Result<(), Fault> {
        let &DefinePool { pool, capacity, state } = definition;
        if let Some((rule, detail)) = refuse_definition(self.books.pools.read(&Key::new(pool))?, capacity) {
            return self.refuse_with("DefinePool", pool, rule, &detail);
        }
        let of_pool = self.books.pools.entry(&Key::new(pool))?;
        of_pool.capacity = capacity;
        of_pool.state = state;
        let mut lines = Vec::new();
        Accounts { pool, division: "", agent: "", of_pool, of_entity: &mut Target::default() }.settle_capacity(&mut lines)?;
        self.emit(pool, &PoolDefined { pool, capacity, state, transfers: List::Slice(&transfers(&lines)) })?;
        self.recheck(pool)
    }

    /// Sets a division's share of a pool.
    pub(crate) fn set_quota(&mut self, quota: &SetQuota<'_>) -> Result<(), Fault> {
        let &SetQuota { pool, division_id, nominal } = quota;
        if let Some((rule, detail)) = refuse_quota(self.books.pools.read(&Key::new(pool))?, division_id, nominal) {
            return self.refuse_with("SetQuota", pool, rule, &detail);
        }
        let of_pool = self.books.pools.entry(&Key::new(pool))?;
        of_pool.divisions.entry(division_id.into()).or_default().nominal = Some(nominal);
        let mut lines = Vec::new();
        let of_entity = &mut Target::default();
        Accounts { pool, division: division_id, agent: "", of_pool, of_entity }.settle_limit(&mut lines)?;
        self.emit(pool, &QuotaSet { pool, division_id, nominal, transfers: List::Slice(&transfers(&lines)) })?;
        self.recheck(pool)
    }

    /// Asks for another look at what waits, where units are free.
    pub(crate) fn recheck(&mut self, pool: &str) -> Result<(), Fault> {
        self.recheck_behind(pool, None)
    }

    /// Looks at what waits for a pool, in the order of the requests, and asks to go on behind the last of a full batch.
    pub(crate) fn look_at_waiting(&mut self, recheck: &Recheck<'_>) -> Result<(), Fault> {
        let &Recheck { pool, after } = recheck;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let waiting = self.books.pools.read(&Key::new(pool))?.map(|pool| pool.waiting.range((from, Bound::Unbounded)));
        let ids: Vec<Uuid> = waiting.into_iter().flatten().take(BATCH).copied().collect();
        for id in &ids {
            if !self.books.pools.read(&Key::new(pool))?.is_some_and(worth_a_recheck) {
                return Ok(());
            }
            self.look(*id)?;
        }
        match ids.get(BATCH - 1) {
            Some(last) => self.recheck_behind(pool, Some(*last)),
            None => Ok(()),
        }
    }

    fn recheck_behind(&mut self, pool: &str, after: Option<Uuid>) -> Result<(), Fault> {
        if !self.books.pools.read(&Key::new(pool))?.is_some_and(worth_a_recheck) {
            return Ok(());
        }
        self.emit(pool, &Recheck { pool, after }).map(|_| ())
    }
}
