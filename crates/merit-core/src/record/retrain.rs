//! Jobs that train a model again.

use crate::{EventTime, List, Uuid, datum, datum_enum};

datum_enum! {
    /// How far a job came.
    RetrainStatus {
        /// It waits for its GPUs, or for its turn.
        Queued,
        /// It trains.
        Running,
        /// It ended well.
        Done,
        /// It ended otherwise.
        Failed,
    }
}

datum! {
    /// Asks for a job that trains a model again.
    CreateRetrain<'a> {
        /// The models that it is about, 1 to 256 bytes.
        model_family: &'a str,
        /// What it learns from: up to 64 references of 1 to 1,024 bytes.
        dataset_refs: List<'a, &'a str>,
        /// A larger number is more urgent; 0 is the least.
        priority: u32,
        /// The division that pays; else `default`.
        division_id: Option<&'a str>,
        /// A claim, kept beside the authenticated actor.
        requested_by: &'a str,
    }
}

datum! {
    /// A job came to be; the request for its GPUs is on its way.
    RetrainQueued<'a> {
        /// The id of this very record.
        job_id: Uuid,
        /// The models that it is about.
        model_family: &'a str,
        /// What it learns from.
        dataset_refs: List<'a, &'a str>,
        /// A larger number is more urgent.
        priority: u32,
        /// A claim.
        requested_by: &'a str,
        /// `retrain:JOB`, which holds its GPUs.
        entity_id: &'a str,
        /// The pool that they come from.
        pool: &'a str,
        /// Milli-GPUs.
        gpus: u64,
        /// Milli-GPU hours that it is expected to take.
        gpu_hours: u64,
        /// In ledger time.
        timestamp: EventTime,
        /// None: a command is no decision.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// A job went on.
    RetrainUpdated<'a> {
        /// The job.
        job_id: Uuid,
        /// The allocation of its GPUs.
        allocation_id: Uuid,
        /// How far it came.
        status: RetrainStatus,
        /// In words.
        detail: &'a str,
        /// In ledger time.
        timestamp: EventTime,
        /// Its RetrainQueued and the request for its GPUs.
        parents: List<'a, Uuid>,
    }
}
