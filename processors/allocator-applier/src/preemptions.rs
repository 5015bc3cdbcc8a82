//! Preemptions: units taken back from an entity that holds them.

use crate::ledger::transfers;
use crate::life::Step;
use crate::rule;
use crate::state::{Allocation, Phase, Preemption, name};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use merit_core::record::{AllocationApplied, AllocationPreempted, AllocationReleased, Outcome, Preempt, Taken};
use merit_core::{Fault, Key, List, Uuid};
use merit_policy::Gpus;

/// The most parents that a preemption names: an audit leaf has 65,535 bytes, and an entity may hold any number of allocations.
const MAX_PARENTS: usize = 64;

/// What an allocation gives.
struct Part {
    taken: Taken,
    division: Box<str>,
    confirmation: Uuid,
}

impl Step<'_, '_> {
    /// Takes units back from what an entity holds; all that it asks for, or none.
    pub(crate) fn preempt(&mut self, preempt: &Preempt<'_>) -> Result<(), Fault> {
        let &Preempt { agent_id, pool, delta, .. } = preempt;
        if self.books.pools.read(&Key::new(pool))?.is_none() {
            return self.refuse_with("Preempt", pool, rule::POOL_UNKNOWN, "there is nothing to take back from");
        }
        let parts = self.newest(agent_id, pool, delta)?;
        let held: u64 = parts.iter().map(|part| part.taken.delta).sum();
        if held < delta {
            let (held, asked) = (Gpus(held), Gpus(delta));
            let detail = format!("agent {agent_id:?} holds {held} GPUs in confirmed allocations and {asked} are asked for");
            return self.refuse_with("Preempt", pool, rule::NOTHING_TO_PREEMPT, &detail);
        }
        self.take_back(preempt, &parts)
    }

    /// Up to `wanted` units of what an entity holds in confirmed allocations, of the newest request first.
    fn newest(&mut self, agent_id: &str, pool: &str, wanted: u64) -> Result<Vec<Part>, Fault> {
        let claims = self.books.entities.read(&Key::new(agent_id))?.map_or(&[][..], |entity| &entity.claims);
        let ids: Vec<Uuid> = claims.iter().rev().map(|claim| claim.allocation_id).collect();
        let (mut left, mut parts) = (wanted, Vec::new());
        for allocation_id in ids {
            let Some(Allocation::Live(live)) = self.books.allocations.read(&Key::new(&name(allocation_id)))? else { continue };
            if let Phase::Confirmed(confirmation) = live.phase
                && *live.pool == *pool
                && left > 0
            {
                let delta = live.delta.min(left);
                left -= delta;
                parts.push(Part { taken: Taken { allocation_id, delta }, division: live.division.clone(), confirmation });
            }
        }
        Ok(parts)
    }

    fn take_back(&mut self, preempt: &Preempt<'_>, parts: &[Part]) -> Result<(), Fault> {
        let &Preempt { agent_id, pool, delta, reason, requested_by } = preempt;
        let id = self.out.next_id();
        let mut units: BTreeMap<Box<str>, u64> = BTreeMap::new();
        for part in parts {
            *units.entry(part.division.clone()).or_default() += part.taken.delta;
        }
        let division_id = units.keys().next().filter(|_| units.len() == 1).map(|division| &**division);
        let taken: Vec<Taken> = parts.iter().map(|part| part.taken).collect();
        let parents: Vec<Uuid> = parts.iter().take(MAX_PARENTS).map(|part| part.confirmation).collect();
        let (taken, parents, timestamp) = (List::Slice(&taken), List::Slice(&parents), self.now);
        let record =
            AllocationPreempted { allocation_id: id, agent_id, division_id, pool, delta, reason, requested_by, taken, timestamp, parents };
        self.emit(pool, &record)?;
        for part in parts {
            self.shrink(part.taken, reason)?;
        }
        let (agent, of_pool, reason, requested_by) = (agent_id.into(), pool.into(), reason.into(), requested_by.into());
        let preemption = Preemption { agent_id: agent, pool: of_pool, units, reason, requested_by, acknowledged: false };
        *self.books.allocations.entry(&Key::new(&name(id)))? = Allocation::Preemption(Box::new(preemption));
        self.books.entities.entry(&Key::new(agent_id))?.target(pool).queue.push_back(id);
        self.dispatch_next(agent_id, pool)
    }

    /// Leaves an allocation with the rest of its units; one without any ends.
    fn shrink(&mut self, taken: Taken, reason: &str) -> Result<(), Fault> {
        let Taken { allocation_id: id, delta } = taken;
        let mut live = self.take(id)?;
        live.delta -= delta;
        if live.delta > 0 {
            return self.keep(id, live);
        }
        self.forget(id, &live)?;
        self.tell(id, &live, Outcome::Released, &format!("preempted: {reason}"))
    }

    /// Notes that the cluster took the order of a preemption; once.
    pub(crate) fn acknowledge(&mut self, id: Uuid, preemption: &mut Preemption, external_ref: &str) -> Result<(), Fault> {
        if core::mem::replace(&mut preemption.acknowledged, true) {
            return Ok(());
        }
        let record = AllocationApplied {
            allocation_id: id,
            agent_id: &preemption.agent_id,
            pool: &preemption.pool,
            delta: preemption.delta(),
            policy_id: "preempted",
            reason: &preemption.reason,
            applied_by: &preemption.requested_by,
            external_ref,
            timestamp: self.now,
            parents: List::Slice(&[id]),
        };
        self.emit(&preemption.pool, &record).map(|_| ())
    }

    /// A preemption was observed in place: its units are free, and it has ended.
    pub(crate) fn reclaimed(&mut self, id: Uuid, mut preemption: Preemption, quantity: u64) -> Result<(), Fault> {
        self.acknowledge(id, &mut preemption, "")?;
        let Preemption { agent_id, pool, units, .. } = &preemption;
        let mut lines = Vec::new();
        for (division, amount) in units {
            lines.extend(self.accounts_of(pool, division, agent_id)?.give_back(*amount)?);
        }
        let record = AllocationReleased {
            allocation_id: id,
            agent_id,
            pool,
            delta: preemption.delta(),
            quantity,
            transfers: List::Slice(&transfers(&lines)),
            timestamp: self.now,
            parents: List::Slice(&[id]),
        };
        self.emit(pool, &record)?;
        self.recheck(pool)
    }
}
