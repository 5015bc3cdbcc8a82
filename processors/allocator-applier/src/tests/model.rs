//! A slow second opinion: it reads only what was emitted, and counts everything again each time.

use super::chain::{Chain, Owned};
use merit_core::record::*;
use merit_core::{List, Payload, Uuid};
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Requested,
    Pended,
    Approved,
    Applied,
    Confirmed,
    Draining,
    Rejected,
    Released,
}

use State::*;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Life {
    pub state: State,
    pool: String,
    division: String,
    agent: String,
    delta: u64,
    reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Account {
    posted: i128,
    debits: i128,
    credits: i128,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Pool {
    capacity: u64,
    open: bool,
    quotas: BTreeMap<String, u64>,
    accounts: BTreeMap<String, Account>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Preempted {
    parts: Vec<Life>,
    acknowledged: bool,
}

impl Preempted {
    fn delta(&self) -> u64 {
        self.parts.iter().map(|part| part.delta).sum()
    }
}

/// The world as the records tell it.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Model {
    pools: BTreeMap<String, Pool>,
    pub lives: BTreeMap<Uuid, Life>,
    /// What each preemption takes, a life in draining for every division that paid.
    preemptions: BTreeMap<Uuid, Preempted>,
    fences: BTreeMap<(String, String), u64>,
}

impl Model {
    /// Takes what one input led to, and checks every law.
    pub(super) fn take(&mut self, emitted: &[Owned]) {
        for record in emitted {
            record.read(|payload| self.fold(payload));
            self.pools.values().for_each(balanced);
        }
        self.matches_the_ledger();
    }

    fn fold(&mut self, payload: Payload<'_>) {
        match payload {
            Payload::PoolDefined(r) => {
                let pool = self.pools.entry(r.pool.into()).or_default();
                (pool.capacity, pool.open) = (r.capacity, r.state == PoolState::Open);
                self.transfer(r.pool, r.transfers);
            }
            Payload::QuotaSet(r) => {
                self.pools.entry(r.pool.into()).or_default().quotas.insert(r.division_id.into(), r.nominal);
                self.transfer(r.pool, r.transfers);
            }
            Payload::AllocationRequested(r) => {
                let &AllocationRequested { pool, division_id, agent_id, delta, .. } = r;
                let (pool, division, agent) = (pool.into(), division_id.into(), agent_id.into());
                let life = Life { state: Requested, pool, division, agent, delta, reason: String::new() };
                assert_eq!(self.lives.insert(r.allocation_id, life), None, "an id is given once");
            }
            Payload::AllocationPended(r) => {
                let life = self.turn(r.allocation_id, &[Requested, Pended], Pended);
                life.reason = r.reason.into();
                let life = life.clone();
                if r.reason.starts_with("waiting_for") {
                    assert!(!self.fits(&life), "{life:?} pends and fits");
                }
            }
            Payload::AllocationApproved(r) => {
                let life = self.turn(r.allocation_id, &[Requested, Pended], Requested).clone();
                assert!(self.fits(&life), "{life:?} is approved and does not fit");
                assert_eq!(r.parents.len(), 2, "request and verdict");
                self.turn(r.allocation_id, &[Requested], Approved);
                self.transfer(r.pool, r.transfers);
            }
            Payload::AllocationDispatched(r) => {
                let fence = self.fences.entry((r.agent_id.into(), r.pool.into())).or_default();
                assert!(*fence < r.fence, "fences rise");
                *fence = r.fence;
                let held = |life: &&Life| {
                    (life.agent.as_str(), life.pool.as_str()) == (r.agent_id, r.pool) && matches!(life.state, Confirmed | Draining)
                };
                let held: u64 = self.all().filter(held).map(|life| life.delta).sum();
                let wanted = match (self.preemptions.get(&r.allocation_id), self.lives.get(&r.allocation_id)) {
                    (Some(preempted), None) => held - preempted.delta(),
                    (None, Some(own)) if own.state == Draining => held - own.delta,
                    (None, Some(own)) => held + own.delta,
                    other => panic!("an order for {other:?}"),
                };
                assert_eq!(r.quantity, wanted, "quantities are absolute");
            }
            Payload::AllocationPreempted(r) => self.preempt(r),
            Payload::AllocationApplied(r) if self.preemptions.contains_key(&r.allocation_id) => {
                let preempted = self.preemptions.get_mut(&r.allocation_id).expect("it is there");
                assert!(!std::mem::replace(&mut preempted.acknowledged, true), "acknowledged once");
                assert_eq!(r.delta, preempted.delta());
            }
            Payload::AllocationApplied(r) => {
                self.turn(r.allocation_id, &[Approved], Applied);
            }
            Payload::AllocationConfirmed(r) => {
                self.turn(r.allocation_id, &[Applied], Confirmed);
                self.transfer(r.pool, r.transfers);
            }
            Payload::AllocationDraining(r) => {
                self.turn(r.allocation_id, &[Confirmed], Draining);
            }
            Payload::AllocationReleased(r) if self.preemptions.contains_key(&r.allocation_id) => {
                let preempted = self.preemptions.remove(&r.allocation_id).expect("it is there");
                assert_eq!((r.delta, true), (preempted.delta(), preempted.acknowledged));
                self.transfer(r.pool, r.transfers);
            }
            Payload::AllocationReleased(r) => {
                self.turn(r.allocation_id, &[Draining], Released);
                self.transfer(r.pool, r.transfers);
            }
            Payload::AllocationRejected(r) => {
                self.turn(r.allocation_id, &[Requested, Pended, Approved, Applied], Rejected);
                self.transfer(r.pool, r.transfers);
            }
            _ => {}
        }
    }

    /// Allocations, and what preemptions took from them.
    fn all(&self) -> impl Iterator<Item = &Life> {
        self.lives.values().chain(self.preemptions.values().flat_map(|preempted| &preempted.parts))
    }

    /// The newest confirmed allocations give all that they have, but for the last; those that have nothing left have ended.
    fn preempt(&mut self, r: &AllocationPreempted<'_>) {
        let mut preempted = Preempted::default();
        let confirmed =
            |(_, life): &(&Uuid, &Life)| (life.agent.as_str(), life.pool.as_str(), life.state) == (r.agent_id, r.pool, Confirmed);
        let newest: Vec<Uuid> = self.lives.iter().filter(confirmed).map(|(id, _)| *id).rev().take(r.taken.len()).collect();
        let taken: Vec<Uuid> = r.taken.iter().map(|part| part.allocation_id).collect();
        assert_eq!(taken, newest, "an id begins with its sequence");
        for (at, part) in r.taken.iter().enumerate() {
            let life = self.lives.get_mut(&part.allocation_id).expect("it was requested");
            assert!(part.delta > 0);
            assert!(part.delta == life.delta || (part.delta < life.delta && at + 1 == taken.len()), "{life:?} gives {}", part.delta);
            preempted.parts.push(Life { delta: part.delta, state: Draining, ..life.clone() });
            life.delta -= part.delta;
            if life.delta == 0 {
                life.state = Released;
            }
        }
        assert_eq!((preempted.delta(), r.parents.len()), (r.delta, taken.len()));
        assert_eq!(self.preemptions.insert(r.allocation_id, preempted), None, "an id is given once");
    }

    fn turn(&mut self, id: Uuid, from: &[State], to: State) -> &mut Life {
        let life = self.lives.get_mut(&id).expect("it was requested");
        assert!(from.contains(&life.state), "{life:?} cannot become {to:?}");
        life.state = to;
        life
    }

    fn transfer(&mut self, pool: &str, transfers: List<'_, Transfer<'_>>) {
        for Transfer { debit, credit, amount, state } in transfers {
            let accounts = &mut self.pools.get_mut(pool).expect("it was defined").accounts;
            let amount = i128::from(amount);
            let (posted, pending) = match state {
                TransferState::Pending => (0, amount),
                TransferState::Posted => (amount, -amount),
                TransferState::Voided => (0, -amount),
                TransferState::Moved => (amount, 0),
            };
            let giver = accounts.entry(debit.into()).or_default();
            giver.posted -= posted;
            giver.debits += pending;
            assert!(debit == "SRC" || giver.posted >= giver.debits, "{debit} is overdrawn");
            let taker = accounts.entry(credit.into()).or_default();
            taker.posted += posted;
            taker.credits += pending;
        }
    }

    fn used(&self, pool: &str, of: impl Fn(&Life) -> bool) -> u64 {
        let lives = self.all().filter(|life| life.pool == pool && of(life));
        lives.filter(|life| matches!(life.state, Approved | Applied | Confirmed | Draining)).map(|life| life.delta).sum()
    }

    /// Allocation.md 3.2 with nominal quotas: U + q <= N, and what others hold or are guaranteed stays theirs.
    fn fits(&self, life: &Life) -> bool {
        let pool = &self.pools[&life.pool];
        let mut divisions: Vec<&str> = self.lives.values().map(|life| life.division.as_str()).collect();
        divisions.extend(pool.quotas.keys().map(String::as_str));
        divisions.sort_unstable();
        divisions.dedup();
        let used = |division: &str| self.used(&life.pool, |other| other.division == division);
        let guaranteed = |division: &str| pool.quotas.get(division).copied().unwrap_or(0);
        let others = divisions.iter().filter(|division| **division != life.division);
        let others: u64 = others.map(|division| used(division).max(guaranteed(division))).sum();
        let wanted = used(&life.division) + life.delta;
        let in_quota = pool.quotas.is_empty() || wanted <= guaranteed(&life.division);
        pool.open && in_quota && others + wanted <= pool.capacity
    }

    /// The balances are what the lives add up to: reserved units pending, confirmed and draining ones posted, nothing else.
    fn matches_the_ledger(&self) {
        for (name, pool) in &self.pools {
            let used = self.used(name, |_| true);
            let free = pool.accounts.get(&std::format!("CAP:{name}")).copied().unwrap_or_default();
            assert_eq!(free.posted - free.debits, i128::from(pool.capacity.saturating_sub(used)), "free units of {name}");
            for (division, nominal) in &pool.quotas {
                let used = self.used(name, |life| life.division == *division);
                let left = pool.accounts.get(&std::format!("LIM:{name}:{division}")).copied().unwrap_or_default();
                assert_eq!(left.posted - left.debits, i128::from(nominal.saturating_sub(used)), "free quota of {division} in {name}");
            }
            for (account, balance) in pool.accounts.iter().filter(|(account, _)| account.starts_with("OCC:")) {
                let own = |life: &Life| *account == std::format!("OCC:{name}:{}:{}", life.division, life.agent);
                let all = self.used(name, own);
                let reserved = self.used(name, |life| own(life) && matches!(life.state, Approved | Applied));
                assert_eq!((balance.posted, balance.credits), (i128::from(all - reserved), i128::from(reserved)), "{account}");
            }
        }
    }

    /// Nobody waits for units who could have them.
    pub(super) fn no_idle_units(&self) {
        for life in self.lives.values().filter(|life| life.state == Pended) {
            let for_units = life.reason.starts_with("waiting_for") || life.reason == "pool_held";
            assert!(!for_units || !self.fits(life), "{life:?} waits and fits");
        }
    }

    /// Every reservation was carried out or given up, and everything that drains is gone.
    pub(super) fn settled(&self) {
        for life in self.lives.values() {
            assert!(!matches!(life.state, Approved | Applied | Draining), "{life:?}");
        }
        assert_eq!(self.preemptions, BTreeMap::new());
    }
}

fn balanced(pool: &Pool) {
    let sum = |of: fn(&Account) -> i128| pool.accounts.values().map(of).sum::<i128>();
    assert_eq!(sum(|account| account.posted), 0);
    assert_eq!(sum(|account| account.debits), sum(|account| account.credits));
}

/// Runs commands and judges what they lead to.
pub(super) fn run(mut chain: Chain, commands: &[String], reload_every: usize) -> (Vec<Owned>, Model) {
    let (mut all, mut model) = (Vec::new(), Model::default());
    for (number, command) in commands.iter().enumerate() {
        let emitted = chain.command(command);
        model.take(&emitted);
        all.extend(emitted);
        if reload_every > 0 && number % reload_every == 0 {
            chain.reload();
        }
    }
    (all, model)
}
