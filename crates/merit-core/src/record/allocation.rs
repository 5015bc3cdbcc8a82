//! Commands about GPUs and what became of them. Quantities are milli-GPUs.

use crate::{EventTime, Fixed, List, Uuid, datum, datum_enum};

datum_enum! {
    /// Who lets an allocation pass once the gate is content.
    Approval {
        /// A person, by Approve.
        Manual,
        /// The allocator itself.
        Automatic,
    }
}

datum_enum! {
    /// Whether a pool gives.
    PoolState {
        /// It gives.
        Open,
        /// It keeps what is given and gives no more.
        Hold,
    }
}

datum_enum! {
    /// How an allocation ended, as the promoter is told.
    Outcome {
        /// Observed in place.
        Confirmed,
        /// Denied by policy, quota or a person.
        Rejected,
        /// Given back.
        Released,
    }
}

datum! {
    /// Asks for units.
    RequestAllocation<'a> {
        /// The promotion behind it.
        promotion_id: Option<Uuid>,
        /// The entity that gets them.
        agent_id: &'a str,
        /// The division that pays for them; else the entity's home.
        division_id: Option<&'a str>,
        /// The pool they come from.
        pool: &'a str,
        /// How much more.
        delta: u64,
        /// Why.
        reason: &'a str,
        /// A claim, kept beside the authenticated actor.
        requested_by: &'a str,
        /// Trust behind the promotion, 0 to 1.
        confidence: Option<Fixed>,
        /// Who approves.
        approval: Approval,
    }
}

datum! {
    /// Lets a pending allocation pass.
    Approve<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// A claim, kept beside the authenticated actor.
        approved_by: &'a str,
    }
}

datum! {
    /// Ends a pending allocation.
    Reject<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// Why.
        rationale: &'a str,
        /// The policy that speaks.
        policy_id: Option<&'a str>,
        /// A claim, kept beside the authenticated actor.
        rejected_by: Option<&'a str>,
    }
}

datum! {
    /// Gives back what a promotion or an allocation obtained.
    Release<'a> {
        /// The entity that gives back.
        agent_id: &'a str,
        /// Everything that this promotion obtained.
        promotion_id: Option<Uuid>,
        /// This allocation.
        allocation_id: Option<Uuid>,
        /// The pool.
        pool: &'a str,
        /// Why.
        reason: &'a str,
        /// A claim, kept beside the authenticated actor.
        requested_by: &'a str,
    }
}

datum! {
    /// Takes units back from an entity that holds them: from its newest confirmed allocations first, the last of these in part.
    Preempt<'a> {
        /// The entity that gives back.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// How much.
        delta: u64,
        /// Why.
        reason: &'a str,
        /// A claim, kept beside the authenticated actor.
        requested_by: &'a str,
    }
}

datum! {
    /// Creates a pool or changes its size.
    DefinePool<'a> {
        /// Its name.
        pool: &'a str,
        /// All units.
        capacity: u64,
        /// Whether it gives.
        state: PoolState,
    }
}

datum! {
    /// Sets a division's share of a pool. The shares of a pool sum to its capacity at most.
    SetQuota<'a> {
        /// The pool.
        pool: &'a str,
        /// The division.
        division_id: &'a str,
        /// Units that the division may hold.
        nominal: u64,
    }
}

datum! {
    /// The static rules in force from here on.
    PolicyBundle<'a> {
        /// Pools that give nothing.
        deny_pools: List<'a, &'a str>,
        /// The most that one request may ask for.
        max_delta: Option<u64>,
    }
}

datum! {
    /// One reason why a request does not pass now.
    Blocker<'a> {
        /// The rule.
        rule: &'a str,
        /// What was found, for a person.
        detail: &'a str,
    }
}

datum! {
    /// The gate's verdict on the command behind it.
    PolicyDecided<'a> {
        /// The allocation; the id of this very record where the command asks for a new one.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Whether static rules let it pass.
        allow: bool,
        /// The most severe rule that speaks against it, else `sentinel-allow`.
        policy_id: &'a str,
        /// In words.
        reason: &'a str,
        /// Everything that speaks against it, most severe first.
        blockers: List<'a, Blocker<'a>>,
        /// When it may pass, where it is only too early.
        not_before: Option<EventTime>,
        /// SHA-256 of the policy bundle in force.
        bundle: [u8; 32],
        /// SHA-256 of the command that was judged.
        input: [u8; 32],
    }
}

datum! {
    /// An allocation came to be.
    AllocationRequested<'a> {
        /// The id of the verdict on its request.
        allocation_id: Uuid,
        /// The promotion behind it.
        promotion_id: Option<Uuid>,
        /// The entity.
        agent_id: &'a str,
        /// The division.
        division_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Units asked for.
        delta: u64,
        /// Why.
        reason: &'a str,
        /// A claim.
        requested_by: &'a str,
        /// In ledger time.
        timestamp: EventTime,
        /// Promotion and verdict.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// An allocation waits; emitted on change only.
    AllocationPended<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// The most severe blocker's rule.
        reason: &'a str,
        /// What it waits for.
        blockers: List<'a, Blocker<'a>>,
        /// The earliest time it can pass.
        not_before: Option<EventTime>,
        /// In ledger time.
        timestamp: EventTime,
        /// The verdict.
        parents: List<'a, Uuid>,
    }
}

datum_enum! {
    /// Whether a transfer moves units or only reserves them.
    TransferState {
        /// Reserved.
        Pending,
        /// A reservation carried out.
        Posted,
        /// A reservation given up.
        Voided,
        /// Moved at once, without a reservation.
        Moved,
    }
}

datum! {
    /// One line of the ledger of units: from the debit account to the credit account.
    Transfer<'a> {
        /// The account that gives.
        debit: &'a str,
        /// The account that gets.
        credit: &'a str,
        /// How much.
        amount: u64,
        /// Reserved or moved.
        state: TransferState,
    }
}

datum! {
    /// Units are reserved for an allocation.
    AllocationApproved<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Units reserved.
        delta: u64,
        /// Who approved.
        approved_by: &'a str,
        /// The reservation.
        transfers: List<'a, Transfer<'a>>,
        /// In ledger time.
        timestamp: EventTime,
        /// The request and the verdict.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// The order to the cluster, durable before it is carried out.
    AllocationDispatched<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// What the entity shall hold in the pool, all in all.
        quantity: u64,
        /// Fence: rises with every order for this entity and pool.
        fence: u64,
        /// In ledger time.
        timestamp: EventTime,
    }
}

datum! {
    /// The cluster took the order.
    Acked<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// The order's fence.
        fence: u64,
        /// The cluster's name for it.
        external_ref: &'a str,
    }
}

datum! {
    /// What the cluster was seen to hold.
    Observed<'a> {
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// The newest order that is in place.
        fence: u64,
        /// What the entity holds.
        quantity: u64,
    }
}

datum! {
    /// The cluster cannot carry out an order.
    Refused<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// The order's fence.
        fence: u64,
        /// Why.
        reason: &'a str,
    }
}

datum! {
    /// The cluster acknowledged an allocation or a preemption.
    AllocationApplied<'a> {
        /// The allocation or the preemption.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Units.
        delta: u64,
        /// The verdict that let it pass; `preempted` for a preemption, which needs none.
        policy_id: &'a str,
        /// The verdict in words, or why it is taken back.
        reason: &'a str,
        /// Who applied.
        applied_by: &'a str,
        /// The cluster's name for it; empty where it was seen in place before the cluster acknowledged it.
        external_ref: &'a str,
        /// In ledger time.
        timestamp: EventTime,
        /// The approval, or the preemption.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// An allocation was observed in place; its units are posted.
    AllocationConfirmed<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Units.
        delta: u64,
        /// What the entity holds in the pool, all in all.
        quantity: u64,
        /// The reservation, carried out.
        transfers: List<'a, Transfer<'a>>,
        /// In ledger time.
        timestamp: EventTime,
        /// The approval.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// An allocation ended without effect.
    AllocationRejected<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Units that were asked for.
        delta: u64,
        /// The most severe rule.
        policy_id: &'a str,
        /// In words.
        reason: &'a str,
        /// Everything that speaks against it, most severe first.
        blockers: List<'a, Blocker<'a>>,
        /// Who rejected.
        rejected_by: &'a str,
        /// A reservation given up.
        transfers: List<'a, Transfer<'a>>,
        /// In ledger time.
        timestamp: EventTime,
        /// The request and the verdict.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// An allocation is being given back; its units stay occupied until observed free.
    AllocationDraining<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Units that come free.
        delta: u64,
        /// Why.
        reason: &'a str,
        /// Who asked.
        requested_by: &'a str,
        /// In ledger time.
        timestamp: EventTime,
        /// The confirmation.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// What a preemption takes from one allocation.
    Taken {
        /// The allocation; it has ended where this is all that it held.
        allocation_id: Uuid,
        /// Units.
        delta: u64,
    }
}

datum! {
    /// Units are taken back from an entity; they stay occupied until observed free.
    ///
    /// A preemption lives as an allocation does: AllocationApplied says that the cluster took its order, AllocationReleased that its
    /// units are free, both by its id.
    AllocationPreempted<'a> {
        /// The preemption: the id of this very record.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The division that paid for all of it; none where several did.
        division_id: Option<&'a str>,
        /// The pool.
        pool: &'a str,
        /// Units taken back.
        delta: u64,
        /// Why.
        reason: &'a str,
        /// Who asked.
        requested_by: &'a str,
        /// From which allocations, newest first; the parts sum to `delta`.
        taken: List<'a, Taken>,
        /// In ledger time.
        timestamp: EventTime,
        /// Confirmations of what is taken, of the newest 64.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// The units of an allocation, or of a preemption, are free again.
    AllocationReleased<'a> {
        /// The allocation or the preemption.
        allocation_id: Uuid,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Units that came free.
        delta: u64,
        /// What the entity holds in the pool, all in all.
        quantity: u64,
        /// The way back.
        transfers: List<'a, Transfer<'a>>,
        /// In ledger time.
        timestamp: EventTime,
        /// The draining or the preemption.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// A pool is there, or changed.
    PoolDefined<'a> {
        /// Its name.
        pool: &'a str,
        /// All units.
        capacity: u64,
        /// Whether it gives.
        state: PoolState,
        /// Units moved between the source and the pool.
        transfers: List<'a, Transfer<'a>>,
    }
}

datum! {
    /// A division's share of a pool is set.
    QuotaSet<'a> {
        /// The pool.
        pool: &'a str,
        /// The division.
        division_id: &'a str,
        /// Units that the division may hold.
        nominal: u64,
        /// Units moved between the source and the limit.
        transfers: List<'a, Transfer<'a>>,
    }
}

datum! {
    /// A command that changed nothing, with the rule that it breaks.
    CommandRefused<'a> {
        /// Record type of the command.
        command: &'a str,
        /// The pool it was about.
        pool: &'a str,
        /// The allocation it was about.
        allocation_id: Option<Uuid>,
        /// The rule.
        rule: &'a str,
        /// What was found, for a person.
        detail: &'a str,
    }
}

datum! {
    /// Tells the promoter how an allocation of its entity ended.
    AllocationOutcome<'a> {
        /// The entity.
        agent_id: &'a str,
        /// The promotion behind it.
        promotion_id: Option<Uuid>,
        /// The allocation.
        allocation_id: Uuid,
        /// How it ended.
        outcome: Outcome,
        /// Why.
        reason: &'a str,
    }
}

datum! {
    /// Units came free: look at the waiting allocations of a pool again.
    Recheck<'a> {
        /// The pool.
        pool: &'a str,
        /// Go on behind this allocation; none starts with the oldest.
        after: Option<Uuid>,
    }
}
