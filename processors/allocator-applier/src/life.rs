//! The life of an allocation, from its request to its end.

use crate::event::{AllocatorApplierPorts, Out};
use crate::ledger::{Accounts, Line, transfers};
use crate::logic::{DEFAULT_DIVISION, judge};
use crate::rule;
use crate::state::{Allocation, Books, Claim, Live, Phase, Reservation, Return, Wait, name};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use merit_core::record::{
    AllocationApproved, AllocationOutcome, AllocationPended, AllocationRejected, AllocationRequested, Approve, Blocker, CommandRefused,
    Outcome, Reject, Release, RequestAllocation,
};
use merit_core::{Code, EventTime, Fault, Key, List, Outbox, Uuid};
use merit_policy::rule::rank;
use merit_policy::{Cure, Finding};

/// Who approves, and rejects, where no person did.
pub(crate) const ALLOCATOR: &str = "allocator";

/// A verdict of the gate, kept for the command that follows it.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The record.
    pub id: Uuid,
    /// Offset of the input that it is about.
    pub offset: u64,
    pub allocation_id: Uuid,
    pub findings: Vec<Finding>,
    pub not_before: Option<EventTime>,
}

/// One input at work: the books, the way out, and the time that records carry.
pub(crate) struct Step<'a, 's> {
    pub books: &'a mut Books,
    pub out: &'a mut Outbox<'s, AllocatorApplierPorts>,
    pub now: EventTime,
}

/// Why an allocation ends without effect.
pub(crate) struct Ending<'e> {
    pub policy_id: &'e str,
    pub reason: &'e str,
    pub findings: &'e [Finding],
    pub rejected_by: &'e str,
    pub outcome: Outcome,
}

impl Step<'_, '_> {
    /// Emits a record about a pool and returns its id.
    pub(crate) fn emit<'b, T>(&mut self, pool: &str, record: &'b T) -> Result<Uuid, Fault>
    where
        Out<'b>: From<&'b T>,
    {
        let sequence = self.out.emit(Key::new(pool), self.now, record)?;
        Ok(self.out.id(sequence))
    }

    /// Opens an allocation and decides on it at once.
    pub(crate) fn request(&mut self, request: &RequestAllocation<'_>, verdict: Verdict) -> Result<(), Fault> {
        let &RequestAllocation { promotion_id, agent_id, pool, delta, reason, requested_by, .. } = request;
        let allocation_id = verdict.allocation_id;
        let entity = self.books.entities.entry(&Key::new(agent_id))?;
        let division: Box<str> = request.division_id.or(entity.division.as_deref()).unwrap_or(DEFAULT_DIVISION).into();
        entity.claims.push(Claim { allocation_id, promotion_id });
        let parents: Vec<Uuid> = promotion_id.into_iter().chain([verdict.id]).collect();
        let (parents, timestamp) = (List::Slice(&parents), self.now);
        let record = AllocationRequested {
            allocation_id,
            promotion_id,
            agent_id,
            division_id: &division,
            pool,
            delta,
            reason,
            requested_by,
            timestamp,
            parents,
        };
        let request = self.emit(pool, &record)?;
        let (agent_id, pool, approved_by, phase) = (agent_id.into(), pool.into(), ALLOCATOR.into(), Phase::Waiting(Wait::default()));
        let live = Live { promotion_id, agent_id, division, pool, delta, approved_by, request, verdict: verdict.id, phase };
        self.decide(allocation_id, Box::new(live), verdict.findings, verdict.not_before)
    }

    /// A person approves. What waits for units or time has been approved already and is looked at again.
    pub(crate) fn approve(&mut self, approve: &Approve<'_>, pool: &str, verdict: Option<Verdict>) -> Result<(), Fault> {
        let id = approve.allocation_id;
        let (cure, mut live) = match self.take_waiting(id)? {
            Ok(found) => found,
            Err(rule) => return self.refuse("Approve", pool, Some(id), rule),
        };
        match (verdict, cure) {
            (Some(verdict), _) => {
                live.approved_by = approve.approved_by.into();
                live.verdict = verdict.id;
                self.decide(id, live, verdict.findings, verdict.not_before)
            }
            (None, Cure::Units) => self.judge_again(id, live),
            (None, Cure::Time) => {
                self.keep(id, live)?;
                Ok(())
            }
            (None, Cure::Person | Cure::Nothing) => Err(Fault(format!("allocation {id} was approved without a verdict of the gate"))),
        }
    }

    /// A person, or a policy of another system, ends what waits.
    pub(crate) fn reject(&mut self, reject: &Reject<'_>, pool: &str) -> Result<(), Fault> {
        let live = match self.take_waiting(reject.allocation_id)? {
            Ok((_, live)) => live,
            Err(rule) => return self.refuse("Reject", pool, Some(reject.allocation_id), rule),
        };
        let policy_id = reject.policy_id.unwrap_or("rejected");
        let rejected_by = reject.rejected_by.unwrap_or(ALLOCATOR);
        let ending = Ending { policy_id, reason: reject.rationale, findings: &[], rejected_by, outcome: Outcome::Rejected };
        self.end(reject.allocation_id, &live, &ending, &[])
    }

    /// Gives back an allocation, or everything that a promotion obtained.
    ///
    /// A promotion that obtained nothing has nothing to give back; only a command from outside is told so.
    pub(crate) fn release(&mut self, release: &Release<'_>, outside: bool) -> Result<(), Fault> {
        let claims = self.books.entities.read(&Key::new(release.agent_id))?.map_or(&[][..], |entity| &entity.claims);
        let meant = |claim: &&Claim| match (release.allocation_id, release.promotion_id) {
            (Some(id), _) => claim.allocation_id == id,
            (None, promotion) => promotion.is_some() && claim.promotion_id == promotion,
        };
        let ids: Vec<Uuid> = claims.iter().filter(meant).map(|claim| claim.allocation_id).collect();
        let mut given_back = false;
        for id in ids {
            given_back |= self.release_one(id, release)?;
        }
        if given_back || !outside {
            return Ok(());
        }
        let unknown = match release.allocation_id {
            Some(id) => self.books.allocations.read(&Key::new(&name(id)))?.is_none(),
            None => false,
        };
        let rule = if unknown { rule::ALLOCATION_UNKNOWN } else { rule::NOTHING_TO_RELEASE };
        self.refuse("Release", release.pool, release.allocation_id, rule)
    }

    /// Returns whether there was something to give back.
    fn release_one(&mut self, id: Uuid, release: &Release<'_>) -> Result<bool, Fault> {
        let mut live = self.take(id)?;
        let &Release { reason, requested_by, .. } = release;
        let ending = Ending { policy_id: "released", reason, findings: &[], rejected_by: requested_by, outcome: Outcome::Released };
        let given_back = match &mut live.phase {
            Phase::Waiting(_) => {
                self.unindex(id, &live)?;
                self.end(id, &live, &ending, &[])?;
                return Ok(true);
            }
            Phase::Approved(reservation) if self.books.entities.entry(&Key::new(&live.agent_id))?.target(&live.pool).unqueue(id) => {
                let limited = reservation.limited;
                let lines = self.accounts(&live)?.void(live.delta, limited)?;
                self.end(id, &live, &ending, &lines)?;
                self.recheck(&live.pool)?;
                return Ok(true);
            }
            Phase::Approved(reservation) | Phase::Applied(reservation) => {
                let first = reservation.give_back.is_none();
                reservation.give_back.get_or_insert_with(|| Return { reason: reason.into(), requested_by: requested_by.into() });
                first
            }
            Phase::Confirmed(confirmation) => {
                let confirmation = *confirmation;
                self.drain(id, &mut live, confirmation, reason, requested_by)?;
                true
            }
            Phase::Draining(_) => false,
        };
        let (agent_id, pool) = (live.agent_id.clone(), live.pool.clone());
        self.keep(id, live)?;
        self.dispatch_next(&agent_id, &pool)?;
        Ok(given_back)
    }

    /// Looks again at what waits for units or time, with the static rules of now: the cooldown is over.
    pub(crate) fn look(&mut self, id: Uuid) -> Result<(), Fault> {
        let (_, live) = self.take_waiting(id)?.map_err(|rule| Fault(format!("allocation {id} is on a list of waiting ones: {rule}")))?;
        self.judge_again(id, live)
    }

    fn judge_again(&mut self, id: Uuid, live: Box<Live>) -> Result<(), Fault> {
        let findings = self.books.rules.read().bundle.judge(&live.pool, live.delta);
        self.decide(id, live, findings, None)
    }

    /// Joins what the gate found with what the ledger says, and acts.
    ///
    /// While a person has to speak the ledger is not asked: everything is judged as it is when the person spoke.
    fn decide(&mut self, id: Uuid, live: Box<Live>, mut findings: Vec<Finding>, not_before: Option<EventTime>) -> Result<(), Fault> {
        let cure_of = |findings: &[Finding]| merit_policy::rule::cure(findings.iter().map(|finding| finding.rule));
        let pool = self.books.pools.read(&Key::new(&live.pool))?;
        if let Some(pool) = pool
            && cure_of(&findings) != Some(Cure::Person)
        {
            findings.extend(judge(pool, &live.division, live.delta));
        }
        let findings = rank(findings);
        match cure_of(&findings) {
            None => self.grant(id, live),
            Some(Cure::Nothing) => {
                let (policy_id, reason) = findings.first().map_or(("", ""), |worst| (worst.rule.name(), &worst.detail));
                let ending = Ending { policy_id, reason, findings: &findings, rejected_by: ALLOCATOR, outcome: Outcome::Rejected };
                self.end(id, &live, &ending, &[])
            }
            Some(Cure::Person | Cure::Time | Cure::Units) => self.pend(id, live, &findings, not_before),
        }
    }

    fn pend(&mut self, id: Uuid, mut live: Box<Live>, findings: &[Finding], not_before: Option<EventTime>) -> Result<(), Fault> {
        let wait = Phase::Waiting(Wait { rules: findings.iter().map(|finding| finding.rule).collect(), not_before });
        if live.phase != wait {
            live.phase = wait;
            let blockers: Vec<Blocker<'_>> = findings.iter().map(Finding::blocker).collect();
            let record = AllocationPended {
                allocation_id: id,
                agent_id: &live.agent_id,
                pool: &live.pool,
                reason: blockers.first().map_or("", |worst| worst.rule),
                blockers: List::Slice(&blockers),
                not_before,
                timestamp: self.now,
                parents: List::Slice(&[live.verdict]),
            };
            self.emit(&live.pool, &record)?;
        }
        self.keep(id, live)?;
        Ok(())
    }

    fn grant(&mut self, id: Uuid, mut live: Box<Live>) -> Result<(), Fault> {
        let (lines, limited) = self.accounts(&live)?.reserve(live.delta)?;
        let record = AllocationApproved {
            allocation_id: id,
            agent_id: &live.agent_id,
            pool: &live.pool,
            delta: live.delta,
            approved_by: &live.approved_by,
            transfers: List::Slice(&transfers(&lines)),
            timestamp: self.now,
            parents: List::Slice(&[live.request, live.verdict]),
        };
        let approval = self.emit(&live.pool, &record)?;
        live.phase = Phase::Approved(Reservation { approval, limited, give_back: None });
        let (agent_id, pool) = (live.agent_id.clone(), live.pool.clone());
        self.keep(id, live)?;
        self.books.entities.entry(&Key::new(&agent_id))?.target(&pool).queue.push_back(id);
        self.dispatch_next(&agent_id, &pool)
    }

    /// Ends an allocation that was taken, and tells the promoter.
    pub(crate) fn end(&mut self, id: Uuid, live: &Live, ending: &Ending<'_>, lines: &[Line]) -> Result<(), Fault> {
        let blockers: Vec<Blocker<'_>> = ending.findings.iter().map(Finding::blocker).collect();
        let record = AllocationRejected {
            allocation_id: id,
            agent_id: &live.agent_id,
            pool: &live.pool,
            delta: live.delta,
            policy_id: ending.policy_id,
            reason: ending.reason,
            blockers: List::Slice(&blockers),
            rejected_by: ending.rejected_by,
            transfers: List::Slice(&transfers(lines)),
            timestamp: self.now,
            parents: List::Slice(&[live.request, live.verdict]),
        };
        self.emit(&live.pool, &record)?;
        self.forget(id, live)?;
        self.tell(id, live, ending.outcome, ending.reason)
    }

    /// An allocation ended: its entity has it no more.
    pub(crate) fn forget(&mut self, id: Uuid, live: &Live) -> Result<(), Fault> {
        // Its row says that it was there.
        *self.books.allocations.entry(&Key::new(&name(id)))? = Allocation::Ended;
        self.books.entities.entry(&Key::new(&live.agent_id))?.claims.retain(|claim| claim.allocation_id != id);
        Ok(())
    }

    /// Tells the promoter how it went.
    pub(crate) fn tell(&mut self, id: Uuid, live: &Live, outcome: Outcome, reason: &str) -> Result<(), Fault> {
        let (agent_id, promotion_id) = (&*live.agent_id, live.promotion_id);
        let record = AllocationOutcome { agent_id, promotion_id, allocation_id: id, outcome, reason };
        self.out.emit(Key::new(agent_id), self.now, &record).map(|_| ())
    }

    pub(crate) fn refuse(&mut self, command: &str, pool: &str, allocation_id: Option<Uuid>, rule: &Code) -> Result<(), Fault> {
        let detail = match allocation_id {
            Some(id) => format!("allocation {id} of pool {pool:?}"),
            None => format!("pool {pool:?}"),
        };
        self.emit(pool, &CommandRefused { command, pool, allocation_id, rule: rule.name, detail: &detail }).map(|_| ())
    }

    /// Refuses a command that is about no allocation.
    pub(crate) fn refuse_with(&mut self, command: &str, pool: &str, rule: &Code, detail: &str) -> Result<(), Fault> {
        self.emit(pool, &CommandRefused { command, pool, allocation_id: None, rule: rule.name, detail }).map(|_| ())
    }

    /// The accounts that an allocation touches.
    pub(crate) fn accounts<'a>(&'a mut self, live: &'a Live) -> Result<Accounts<'a>, Fault> {
        self.accounts_of(&live.pool, &live.division, &live.agent_id)
    }

    /// The accounts of what an entity holds in a pool at a division's expense.
    pub(crate) fn accounts_of<'a>(&'a mut self, pool: &'a str, division: &'a str, agent: &'a str) -> Result<Accounts<'a>, Fault> {
        let of_pool = self.books.pools.entry(&Key::new(pool))?;
        let of_entity = self.books.entities.entry(&Key::new(agent))?.target(pool);
        Ok(Accounts { pool, division, agent, of_pool, of_entity })
    }

    /// Takes an allocation out that must be alive, until [`Step::keep`] or [`Step::forget`].
    pub(crate) fn take(&mut self, id: Uuid) -> Result<Box<Live>, Fault> {
        match core::mem::take(self.books.allocations.entry(&Key::new(&name(id)))?) {
            Allocation::Live(live) => Ok(live),
            Allocation::Ended | Allocation::Preemption(_) => Err(Fault(format!("allocation {id} is referred to and not alive"))),
        }
    }

    /// Puts an allocation back, and on the list of what it waits for.
    pub(crate) fn keep(&mut self, id: Uuid, live: Box<Live>) -> Result<(), Fault> {
        if let Phase::Waiting(wait) = &live.phase {
            match (wait.cure(), wait.not_before) {
                (Some(Cure::Time), Some(due)) => {
                    self.books.clock.write().timers.insert((due, id));
                }
                (Some(Cure::Units), _) => {
                    self.books.pools.entry(&Key::new(&live.pool))?.waiting.insert(id);
                }
                (Some(Cure::Time | Cure::Person | Cure::Nothing) | None, _) => {}
            }
        }
        *self.books.allocations.entry(&Key::new(&name(id)))? = Allocation::Live(live);
        Ok(())
    }

    /// Takes an allocation out that waits, with what it waits for; or the rule that speaks against it.
    fn take_waiting(&mut self, id: Uuid) -> Result<Result<(Cure, Box<Live>), &'static Code>, Fault> {
        let cure = match self.books.allocations.read(&Key::new(&name(id)))? {
            None => return Ok(Err(rule::ALLOCATION_UNKNOWN)),
            Some(Allocation::Live(live)) => match &live.phase {
                Phase::Waiting(wait) => wait.cure(),
                Phase::Approved(_) | Phase::Applied(_) | Phase::Confirmed(_) | Phase::Draining(_) => None,
            },
            Some(Allocation::Ended | Allocation::Preemption(_)) => None,
        };
        let Some(cure) = cure else { return Ok(Err(rule::ALLOCATION_NOT_PENDING)) };
        let live = self.take(id)?;
        self.unindex(id, &live)?;
        Ok(Ok((cure, live)))
    }

    fn unindex(&mut self, id: Uuid, live: &Live) -> Result<(), Fault> {
        if let Phase::Waiting(wait) = &live.phase {
            match (wait.cure(), wait.not_before) {
                (Some(Cure::Time), Some(due)) => {
                    self.books.clock.write().timers.remove(&(due, id));
                }
                (Some(Cure::Units), _) => {
                    self.books.pools.entry(&Key::new(&live.pool))?.waiting.remove(&id);
                }
                (Some(Cure::Time | Cure::Person | Cure::Nothing) | None, _) => {}
            }
        }
        Ok(())
    }
}
