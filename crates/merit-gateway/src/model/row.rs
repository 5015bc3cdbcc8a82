//! Rows of the tables.

use merit_core::record::{Blocker, PoolState, RetrainStatus};
use merit_core::{EventTime, Fixed, List, Uuid, datum, datum_enum};

datum! {
    /// Where the fold of a partition stands.
    PositionRow {
        /// Offset of the next record.
        offset: u64,
    }
}

datum! {
    /// A record as it stands in the log.
    RecordRow<'a> {
        /// Number of its partition among those of all topics.
        partition: u32,
        /// Its offset there.
        offset: u64,
        /// Number of its type.
        kind: u32,
        /// Its timestamp.
        time: EventTime,
        /// Its encoding.
        payload: &'a [u8],
    }
}

datum! {
    /// One window of a score in the past.
    PastWindow<'a> {
        /// Its name.
        name: &'a str,
        /// Its score.
        score: Fixed,
        /// Reports in it.
        n: u64,
    }
}

datum! {
    /// The last score of a minute.
    HistoryRow<'a> {
        /// Event time of the report behind it.
        timestamp: EventTime,
        /// Each window's.
        windows: List<'a, PastWindow<'a>>,
    }
}

datum_enum! {
    /// Where an allocation stands; the order is that of its life.
    Lifecycle {
        /// It came to be.
        Requested,
        /// It waits.
        Pending,
        /// Its units are reserved.
        Approved,
        /// The cluster was told.
        Dispatched,
        /// The cluster acknowledged it.
        Applied,
        /// It was observed in place.
        Confirmed,
        /// It is being given back.
        Draining,
        /// Its units are free again.
        Released,
        /// It ended without effect.
        Rejected,
    }
}

datum! {
    /// An allocation, or a preemption, as it stands.
    AllocationRow<'a> {
        /// The promotion behind it.
        promotion_id: Option<Uuid>,
        /// The entity.
        agent_id: &'a str,
        /// The division.
        division_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Milli-GPUs asked for; less than nothing where they are taken back.
        delta: i64,
        /// Why.
        reason: &'a str,
        /// Who asked.
        requested_by: &'a str,
        /// Where it stands.
        lifecycle: Lifecycle,
        /// When it was asked for, in ledger time.
        requested_at: EventTime,
        /// When it changed last, in ledger time.
        updated_at: EventTime,
        /// Who approved it.
        approved_by: Option<&'a str>,
        /// Who applied it.
        applied_by: Option<&'a str>,
        /// When it was applied.
        applied_at: Option<EventTime>,
        /// Who rejected it.
        rejected_by: Option<&'a str>,
        /// The policy that let it pass or not, once that is decided.
        policy_id: Option<&'a str>,
        /// That in words.
        policy_reason: &'a str,
        /// What it waits for, most severe first.
        blockers: List<'a, Blocker<'a>>,
        /// When it may pass.
        not_before: Option<EventTime>,
        /// What the entity holds in the pool since its last step, in milli-GPUs.
        quantity: Option<u64>,
        /// The cluster's name for it.
        external_ref: &'a str,
        /// Milli-GPUs of it that preemptions took back; one that was taken back whole has ended.
        taken: u64,
    }
}

impl<'a> AllocationRow<'a> {
    /// An allocation of nothing that nothing was decided about.
    pub fn new(
        agent_id: &'a str,
        division_id: &'a str,
        pool: &'a str,
        reason: &'a str,
        requested_by: &'a str,
        requested_at: EventTime,
    ) -> AllocationRow<'a> {
        AllocationRow {
            promotion_id: None,
            agent_id,
            division_id,
            pool,
            delta: 0,
            reason,
            requested_by,
            lifecycle: Lifecycle::Requested,
            requested_at,
            updated_at: requested_at,
            approved_by: None,
            applied_by: None,
            applied_at: None,
            rejected_by: None,
            policy_id: None,
            policy_reason: "",
            blockers: List::EMPTY,
            not_before: None,
            quantity: None,
            external_ref: "",
            taken: 0,
        }
    }
}

datum! {
    /// A pool as it stands, in milli-GPUs.
    PoolRow {
        /// All units.
        capacity: u64,
        /// Whether it gives.
        state: PoolState,
        /// Units that are approved and not observed in place.
        reserved: u64,
        /// Units in place.
        held: u64,
    }
}

datum! {
    /// A division's share of a pool.
    QuotaRow {
        /// Units that it may hold.
        nominal: u64,
    }
}

datum! {
    /// A job that trains a model again, as it stands.
    JobRow<'a> {
        /// Encoding of its RetrainQueued.
        queued: &'a [u8],
        /// The allocation of its GPUs.
        allocation_id: Option<Uuid>,
        /// How far it came.
        status: RetrainStatus,
        /// In words.
        detail: &'a str,
        /// When it changed last, in ledger time.
        updated_at: EventTime,
    }
}

datum! {
    /// Another record's id.
    IdRow {
        /// The id.
        id: Uuid,
    }
}
