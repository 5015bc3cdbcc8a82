//! The adapter: reads state, asks [`logic`](crate::logic), writes state, emits.

use crate::event::{In, RetrainQueuePorts};
use crate::logic::{PREFIX, entity, failure, reason, rule_of};
use crate::params::Params;
use crate::state::{Asked, Clock, Job, Open};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use merit_core::processor::Configuration;
use merit_core::record::{
    AllocationOutcome, AllocationRequested, Approval, CommandRefused, CreateRetrain, RequestAllocation, RetrainQueued, RetrainStatus,
    RetrainUpdated,
};
use merit_core::table::Single;
use merit_core::{Fault, Head, Key, List, Outbox, Payload, Problem, Processor, Settings, Store, Table, Uuid};
use merit_policy::LedgerTime;

type Emit<'o> = Outbox<'o, RetrainQueuePorts>;

/// The processor.
#[derive(Default)]
pub struct RetrainQueue {
    params: Params,
    jobs: Table<Job>,
    clock: Single<Clock>,
}

impl Processor for RetrainQueue {
    type Ports = RetrainQueuePorts;
    const NAME: &'static str = "retrain-queue";

    fn check(settings: &Settings) -> Vec<Problem> {
        Params::read(settings).1
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        self.params = Params::read(&configuration.settings).0;
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, input: In<'_>, out: &mut Emit<'_>) -> Result<(), Fault> {
        match input {
            In::CreateRetrain(command) => self.create(at, command, out),
            In::AllocationRequested(requested) => self.requested(at, requested, out),
            In::AllocationOutcome(outcome) => self.ended(at, outcome, out),
            In::Progress(progress) => self.tell_time(|time| time.pass(progress.watermark)),
            In::Tick(tick) => self.tell_time(|time| time.pass(tick.time)),
        }
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.jobs);
        visit(&mut self.clock);
    }
}

impl RetrainQueue {
    fn tell_time(&mut self, tell: impl FnOnce(&mut LedgerTime)) -> Result<(), Fault> {
        let clock = self.clock.write();
        let mut time = LedgerTime { now: clock.now };
        tell(&mut time);
        clock.now = time.now;
        Ok(())
    }

    fn create(&mut self, at: &Head<'_>, command: &CreateRetrain<'_>, out: &mut Emit<'_>) -> Result<(), Fault> {
        self.tell_time(|time| time.hear(at))?;
        let now = LedgerTime { now: self.clock.read().now }.stamp(at);
        let Params { pool, gpus, gpu_hours } = &self.params;
        let (gpus, gpu_hours, key) = (*gpus, *gpu_hours, Key::new(pool));
        let payload = Payload::from(command);
        if let Some(flaw) = payload.flaw() {
            let (command, rule, detail) = (payload.kind().name(), rule_of(&flaw).name, flaw.to_string());
            return out.emit(key, now, &CommandRefused { command, pool, allocation_id: None, rule, detail: &detail }).map(drop);
        }
        let job_id = out.next_id();
        let entity_id = entity(job_id);
        let &CreateRetrain { model_family, dataset_refs, priority, division_id, requested_by } = command;
        let queued = RetrainQueued {
            job_id,
            model_family,
            dataset_refs,
            priority,
            requested_by,
            entity_id: &entity_id,
            pool,
            gpus,
            gpu_hours,
            timestamp: now,
            parents: List::EMPTY,
        };
        out.emit(key, now, &queued)?;
        self.jobs.entry(&Key::new(&entity_id))?.0 = Some(Open { job_id, asked: None });
        let request = RequestAllocation {
            promotion_id: None,
            agent_id: &entity_id,
            division_id,
            pool,
            delta: gpus,
            reason: &reason(model_family, gpu_hours),
            requested_by,
            confidence: None,
            approval: Approval::Manual,
        };
        out.emit(key, now, &request).map(drop)
    }

    /// The request for a job's GPUs came back as an allocation; a later one of that entity is somebody else's.
    fn requested(&mut self, at: &Head<'_>, requested: &AllocationRequested<'_>, out: &mut Emit<'_>) -> Result<(), Fault> {
        let &AllocationRequested { agent_id, allocation_id, .. } = requested;
        let Some(Open { job_id, asked: None }) = self.open(agent_id)? else { return Ok(()) };
        let request = out.id_of(at).ok_or_else(|| Fault(format!("allocation {allocation_id} was requested from outside")))?;
        let asked = Asked { allocation_id, request };
        self.jobs.entry(&Key::new(agent_id))?.0 = Some(Open { job_id, asked: Some(asked) });
        let detail = format!("waits for allocation {allocation_id}");
        self.update(at, job_id, asked, (RetrainStatus::Queued, &detail), out)
    }

    fn ended(&mut self, at: &Head<'_>, outcome: &AllocationOutcome<'_>, out: &mut Emit<'_>) -> Result<(), Fault> {
        let Some(open) = self.open(outcome.agent_id)? else { return Ok(()) };
        let Some(asked) = open.asked.filter(|asked| asked.allocation_id == outcome.allocation_id) else { return Ok(()) };
        let Some(detail) = failure(outcome.outcome, outcome.reason) else { return Ok(()) };
        self.jobs.entry(&Key::new(outcome.agent_id))?.0 = None;
        self.update(at, open.job_id, asked, (RetrainStatus::Failed, &detail), out)
    }

    fn update(&self, at: &Head<'_>, job_id: Uuid, asked: Asked, news: (RetrainStatus, &str), out: &mut Emit<'_>) -> Result<(), Fault> {
        let (Asked { allocation_id, request }, (status, detail)) = (asked, news);
        // What the allocator wrote carries ledger time.
        let (timestamp, parents) = (at.time, [job_id, request]);
        let updated = RetrainUpdated { job_id, allocation_id, status, detail, timestamp, parents: List::Slice(&parents) };
        out.emit(Key::new(&self.params.pool), timestamp, &updated).map(drop)
    }

    fn open(&mut self, entity: &str) -> Result<Option<Open>, Fault> {
        if !entity.starts_with(PREFIX) {
            return Ok(None);
        }
        Ok(self.jobs.read(&Key::new(entity))?.and_then(|job| job.0))
    }
}
