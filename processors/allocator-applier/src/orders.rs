//! Orders to the cluster, and what it answers.

use crate::ledger::transfers;
use crate::life::{Ending, Step};
use crate::state::{Allocation, Live, Order, Phase, Target, name};
use alloc::boxed::Box;
use alloc::format;
use merit_core::record::{
    Acked, AllocationApplied, AllocationConfirmed, AllocationDispatched, AllocationDraining, AllocationReleased, Observed, Outcome, Refused,
};
use merit_core::{Fault, Key, List, Uuid};
use merit_policy::ALLOW;

impl Target {
    /// Takes an allocation out of the queue; whether it was there.
    pub(crate) fn unqueue(&mut self, id: Uuid) -> bool {
        let place = self.queue.iter().position(|queued| *queued == id);
        place.and_then(|place| self.queue.remove(place)).is_some()
    }
}

fn ended(id: Uuid) -> Fault {
    Fault(format!("an order is for allocation {id}, which has ended"))
}

impl Step<'_, '_> {
    /// Orders the next change of what an entity holds in a pool, unless an order is under way.
    pub(crate) fn dispatch_next(&mut self, agent_id: &str, pool: &str) -> Result<(), Fault> {
        let target = self.books.entities.entry(&Key::new(agent_id))?.target(pool);
        if target.order.is_some() {
            return Ok(());
        }
        let (Some(id), held) = (target.queue.pop_front(), target.quantity) else {
            return Ok(());
        };
        let quantity = match self.books.allocations.read(&Key::new(&name(id)))? {
            Some(Allocation::Live(live)) => match live.phase {
                Phase::Draining(_) => held.checked_sub(live.delta),
                Phase::Waiting(_) | Phase::Approved(_) | Phase::Applied(_) | Phase::Confirmed(_) => held.checked_add(live.delta),
            },
            Some(Allocation::Preemption(preemption)) => held.checked_sub(preemption.delta()),
            Some(Allocation::Ended) | None => return Err(ended(id)),
        };
        let quantity = quantity.ok_or_else(|| Fault(format!("entity {agent_id:?} holds {held} in pool {pool:?}, less than drains")))?;
        let target = self.books.entities.entry(&Key::new(agent_id))?.target(pool);
        target.fence += 1;
        let fence = target.fence;
        target.order = Some(Order { allocation_id: id, fence, quantity });
        let record = AllocationDispatched { allocation_id: id, agent_id, pool, quantity, fence, timestamp: self.now };
        self.emit(pool, &record).map(|_| ())
    }

    /// The cluster took an order. What it says about another than the one under way is old.
    pub(crate) fn acked(&mut self, acked: &Acked<'_>) -> Result<(), Fault> {
        let Some(order) = self.order(acked.agent_id, acked.pool)? else {
            return Ok(());
        };
        if order.allocation_id != acked.allocation_id || order.fence != acked.fence {
            return Ok(());
        }
        let id = order.allocation_id;
        match core::mem::take(self.books.allocations.entry(&Key::new(&name(id)))?) {
            Allocation::Live(mut live) => {
                self.apply(id, &mut live, acked.external_ref)?;
                self.keep(id, live)
            }
            Allocation::Preemption(mut preemption) => {
                self.acknowledge(id, &mut preemption, acked.external_ref)?;
                *self.books.allocations.entry(&Key::new(&name(id)))? = Allocation::Preemption(preemption);
                Ok(())
            }
            Allocation::Ended => Err(ended(id)),
        }
    }

    /// The cluster was seen to hold what the order under way asks for.
    pub(crate) fn observed(&mut self, observed: &Observed<'_>) -> Result<(), Fault> {
        let &Observed { agent_id, pool, fence, quantity } = observed;
        let Some(order) = self.order(agent_id, pool)?.filter(|order| order.fence <= fence && order.quantity == quantity) else {
            return Ok(());
        };
        let target = self.books.entities.entry(&Key::new(agent_id))?.target(pool);
        target.order = None;
        target.quantity = quantity;
        let id = order.allocation_id;
        match core::mem::take(self.books.allocations.entry(&Key::new(&name(id)))?) {
            Allocation::Live(live) => self.in_place(id, live, quantity)?,
            Allocation::Preemption(preemption) => self.reclaimed(id, *preemption, quantity)?,
            Allocation::Ended => return Err(ended(id)),
        }
        self.dispatch_next(agent_id, pool)
    }

    fn in_place(&mut self, id: Uuid, mut live: Box<Live>, quantity: u64) -> Result<(), Fault> {
        self.apply(id, &mut live, "")?;
        match &live.phase {
            Phase::Applied(_) => self.confirm(id, live, quantity),
            Phase::Draining(since) => {
                let draining = *since;
                self.released(id, &live, quantity, draining)
            }
            Phase::Waiting(_) | Phase::Approved(_) | Phase::Confirmed(_) => Err(Fault(format!("allocation {id} had no order"))),
        }
    }

    /// The cluster cannot carry out an order. One that gives back stands until it is observed: its units are not free.
    pub(crate) fn refused(&mut self, refused: &Refused<'_>) -> Result<(), Fault> {
        let &Refused { allocation_id: id, agent_id, pool, fence, reason } = refused;
        if self.order(agent_id, pool)?.is_none_or(|order| order.allocation_id != id || order.fence != fence) {
            return Ok(());
        }
        let limited = match self.books.allocations.read(&Key::new(&name(id)))? {
            Some(Allocation::Live(live)) => match &live.phase {
                Phase::Approved(reservation) | Phase::Applied(reservation) => reservation.limited,
                Phase::Waiting(_) | Phase::Confirmed(_) | Phase::Draining(_) => return Ok(()),
            },
            Some(Allocation::Preemption(_)) => return Ok(()),
            Some(Allocation::Ended) | None => return Err(ended(id)),
        };
        let live = self.take(id)?;
        let lines = self.accounts(&live)?.void(live.delta, limited)?;
        let ending = Ending { policy_id: "cluster_refused", reason, findings: &[], rejected_by: "cluster", outcome: Outcome::Rejected };
        self.end(id, &live, &ending, &lines)?;
        self.books.entities.entry(&Key::new(agent_id))?.target(pool).order = None;
        self.dispatch_next(agent_id, pool)?;
        self.recheck(pool)
    }

    fn order(&mut self, agent_id: &str, pool: &str) -> Result<Option<Order>, Fault> {
        let entity = self.books.entities.read(&Key::new(agent_id))?;
        Ok(entity.and_then(|entity| entity.targets.get(pool)?.order))
    }

    /// Notes the acknowledgement of an approved allocation; once.
    fn apply(&mut self, id: Uuid, live: &mut Live, external_ref: &str) -> Result<(), Fault> {
        let Phase::Approved(reservation) = &live.phase else {
            return Ok(());
        };
        let record = AllocationApplied {
            allocation_id: id,
            agent_id: &live.agent_id,
            pool: &live.pool,
            delta: live.delta,
            policy_id: ALLOW,
            reason: "approved",
            applied_by: &live.approved_by,
            external_ref,
            timestamp: self.now,
            parents: List::Slice(&[reservation.approval]),
        };
        self.emit(&live.pool, &record)?;
        live.phase = Phase::Applied(reservation.clone());
        Ok(())
    }

    fn confirm(&mut self, id: Uuid, mut live: Box<Live>, quantity: u64) -> Result<(), Fault> {
        let Phase::Applied(reservation) = &live.phase else {
            return Err(Fault(format!("allocation {id} is confirmed and was not applied")));
        };
        let reservation = reservation.clone();
        let lines = self.accounts(&live)?.post(live.delta, reservation.limited)?;
        let record = AllocationConfirmed {
            allocation_id: id,
            agent_id: &live.agent_id,
            pool: &live.pool,
            delta: live.delta,
            quantity,
            transfers: List::Slice(&transfers(&lines)),
            timestamp: self.now,
            parents: List::Slice(&[reservation.approval]),
        };
        let confirmation = self.emit(&live.pool, &record)?;
        live.phase = Phase::Confirmed(confirmation);
        self.tell(id, &live, Outcome::Confirmed, "observed in place")?;
        if let Some(back) = &reservation.give_back {
            self.drain(id, &mut live, confirmation, &back.reason, &back.requested_by)?;
        }
        self.keep(id, live)?;
        Ok(())
    }

    /// Begins to give a confirmed allocation back.
    pub(crate) fn drain(&mut self, id: Uuid, live: &mut Live, confirmation: Uuid, reason: &str, by: &str) -> Result<(), Fault> {
        let record = AllocationDraining {
            allocation_id: id,
            agent_id: &live.agent_id,
            pool: &live.pool,
            delta: live.delta,
            reason,
            requested_by: by,
            timestamp: self.now,
            parents: List::Slice(&[confirmation]),
        };
        let draining = self.emit(&live.pool, &record)?;
        live.phase = Phase::Draining(draining);
        self.books.entities.entry(&Key::new(&live.agent_id))?.target(&live.pool).queue.push_back(id);
        Ok(())
    }

    fn released(&mut self, id: Uuid, live: &Live, quantity: u64, draining: Uuid) -> Result<(), Fault> {
        let lines = self.accounts(live)?.give_back(live.delta)?;
        let record = AllocationReleased {
            allocation_id: id,
            agent_id: &live.agent_id,
            pool: &live.pool,
            delta: live.delta,
            quantity,
            transfers: List::Slice(&transfers(&lines)),
            timestamp: self.now,
            parents: List::Slice(&[draining]),
        };
        self.emit(&live.pool, &record)?;
        self.forget(id, live)?;
        self.tell(id, live, Outcome::Released, "given back")?;
        self.recheck(&live.pool)
    }
}
