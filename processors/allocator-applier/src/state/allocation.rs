//! An allocation: everything about it while it lives, and that it was once it ended.

use super::preemption::{Preemption, PreemptionRow};
use alloc::boxed::Box;
use alloc::vec::Vec;
use merit_core::{Datum, EventTime, List, Row, Shape, Uuid, datum, datum_enum};
use merit_policy::{Cure, Rule, rule};

/// What an id stands for; most have ended.
#[derive(Clone, Debug, Default)]
pub(crate) enum Allocation {
    /// An allocation or a preemption that ended.
    #[default]
    Ended,
    /// An allocation that has not.
    Live(Box<Live>),
    /// A preemption that has not.
    Preemption(Box<Preemption>),
}

/// An allocation that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub promotion_id: Option<Uuid>,
    pub agent_id: Box<str>,
    /// The division that pays.
    pub division: Box<str>,
    pub pool: Box<str>,
    /// Milli-GPUs asked for, less what was preempted.
    pub delta: u64,
    /// Who approved; the allocator until a person does.
    pub approved_by: Box<str>,
    /// Its AllocationRequested.
    pub request: Uuid,
    /// The newest verdict on it.
    pub verdict: Uuid,
    pub phase: Phase,
}

/// Where an allocation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is reserved.
    Waiting(Wait),
    /// Units are reserved; the cluster is told, or will be.
    Approved(Reservation),
    /// The cluster acknowledged the order.
    Applied(Reservation),
    /// Observed in place, by that record.
    Confirmed(Uuid),
    /// Being given back, since that record.
    Draining(Uuid),
}

/// Units that are reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// Its AllocationApproved.
    pub approval: Uuid,
    /// Whether the division's quota is reserved with them: it had one then.
    pub limited: bool,
    /// To be given back as soon as it is confirmed.
    pub give_back: Option<Return>,
}

/// Who wants units back, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Return {
    pub reason: Box<str>,
    pub requested_by: Box<str>,
}

/// What a waiting allocation waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The rules that hold it back, most severe first; none before it was judged.
    pub rules: Vec<Rule>,
    /// When it may pass, where it is only too early.
    pub not_before: Option<EventTime>,
}

impl Wait {
    /// What would let it pass.
    pub(crate) fn cure(&self) -> Option<Cure> {
        rule::cure(self.rules.iter().copied())
    }
}

datum_enum! {
    /// The name of a [`Phase`].
    PhaseName {
        /// Nothing is reserved.
        Waiting,
        /// Units are reserved.
        Approved,
        /// Acknowledged.
        Applied,
        /// Observed in place.
        Confirmed,
        /// Being given back.
        Draining,
    }
}

datum! {
    /// A [`Return`] as it is stored.
    ReturnRow<'a> {
        /// Why.
        reason: &'a str,
        /// Who asked.
        requested_by: &'a str,
    }
}

datum! {
    /// A [`Live`] as it is stored.
    LiveRow<'a> {
        /// The promotion behind it.
        promotion_id: Option<Uuid>,
        /// The entity.
        agent_id: &'a str,
        /// The division that pays.
        division: &'a str,
        /// The pool.
        pool: &'a str,
        /// Milli-GPUs asked for, less what was preempted.
        delta: u64,
        /// Who approved.
        approved_by: &'a str,
        /// Its AllocationRequested.
        request: Uuid,
        /// The newest verdict on it.
        verdict: Uuid,
        /// Where it stands.
        phase: PhaseName,
        /// The record that brought it there; none while it waits.
        since: Option<Uuid>,
        /// The rules that hold it back, while it waits.
        rules: List<'a, &'a str>,
        /// When it may pass, while it waits.
        not_before: Option<EventTime>,
        /// Whether quota is reserved with its units.
        limited: bool,
        /// To be given back as soon as it is confirmed.
        give_back: Option<ReturnRow<'a>>,
    }
}

datum! {
    /// An [`Allocation`] as a row.
    AllocationRow<'a> {
        /// An allocation that has not ended.
        live: Option<LiveRow<'a>>,
        /// A preemption that has not.
        preemption: Option<PreemptionRow<'a>>,
    }
}

impl Row for Allocation {
    const STORE: &'static str = "allocations";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        AllocationRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        match self {
            Allocation::Ended => AllocationRow { live: None, preemption: None }.put(scratch),
            Allocation::Live(live) => {
                let rules: Vec<&str> = match &live.phase {
                    Phase::Waiting(wait) => wait.rules.iter().map(|rule| rule.name()).collect(),
                    Phase::Approved(_) | Phase::Applied(_) | Phase::Confirmed(_) | Phase::Draining(_) => Vec::new(),
                };
                AllocationRow { live: Some(live_row(live, &rules)), preemption: None }.put(scratch);
            }
            Allocation::Preemption(preemption) => {
                preemption.with_row(|row| AllocationRow { live: None, preemption: Some(row) }.put(scratch));
            }
        }
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let AllocationRow { live: live_row, preemption } = AllocationRow::decode(bytes)?;
        *self = match (live_row, preemption) {
            (None, None) => Allocation::Ended,
            (Some(row), None) => Allocation::Live(Box::new(live(&row)?)),
            (None, Some(row)) => Allocation::Preemption(Box::new(Preemption::read(&row))),
            (Some(_), Some(_)) => return None,
        };
        Some(())
    }
}

fn live_row<'a>(live: &'a Live, rules: &'a [&'a str]) -> LiveRow<'a> {
    let &Live { promotion_id, ref agent_id, ref division, ref pool, delta, ref approved_by, request, verdict, ref phase } = live;
    let (phase, since, reservation, not_before) = match phase {
        Phase::Waiting(wait) => (PhaseName::Waiting, None, None, wait.not_before),
        Phase::Approved(reservation) => (PhaseName::Approved, Some(reservation.approval), Some(reservation), None),
        Phase::Applied(reservation) => (PhaseName::Applied, Some(reservation.approval), Some(reservation), None),
        Phase::Confirmed(since) => (PhaseName::Confirmed, Some(*since), None, None),
        Phase::Draining(since) => (PhaseName::Draining, Some(*since), None, None),
    };
    let give_back = reservation.and_then(|reservation| reservation.give_back.as_ref());
    let give_back = give_back.map(|back| ReturnRow { reason: &back.reason, requested_by: &back.requested_by });
    let (rules, limited) = (List::Slice(rules), reservation.is_some_and(|reservation| reservation.limited));
    LiveRow {
        promotion_id,
        agent_id,
        division,
        pool,
        delta,
        approved_by,
        request,
        verdict,
        phase,
        since,
        rules,
        not_before,
        limited,
        give_back,
    }
}

fn live(row: &LiveRow<'_>) -> Option<Live> {
    let reservation = || {
        let give_back = row.give_back.map(|back| Return { reason: back.reason.into(), requested_by: back.requested_by.into() });
        Some(Reservation { approval: row.since?, limited: row.limited, give_back })
    };
    let phase = match row.phase {
        PhaseName::Waiting => {
            let rules: Option<Vec<Rule>> = row.rules.iter().map(Rule::from_name).collect();
            Phase::Waiting(Wait { rules: rules?, not_before: row.not_before })
        }
        PhaseName::Approved => Phase::Approved(reservation()?),
        PhaseName::Applied => Phase::Applied(reservation()?),
        PhaseName::Confirmed => Phase::Confirmed(row.since?),
        PhaseName::Draining => Phase::Draining(row.since?),
    };
    let &LiveRow { promotion_id, agent_id, division, pool, delta, approved_by, request, verdict, .. } = row;
    let (agent_id, division, pool, approved_by) = (agent_id.into(), division.into(), pool.into(), approved_by.into());
    Some(Live { promotion_id, agent_id, division, pool, delta, approved_by, request, verdict, phase })
}
