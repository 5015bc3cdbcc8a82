//! The adapter: tells the time, pairs a command with its verdict, and hands on.

use crate::event::{AllocatorApplierPorts, In};
use crate::life::{Step, Verdict};
use crate::state::Books;
use alloc::format;
use alloc::vec::Vec;
use merit_core::processor::Configuration;
use merit_core::record::{EntityAssigned, PolicyDecided};
use merit_core::{EventTime, Fault, Head, Key, MAX_NAME, Outbox, Payload, Problem, Processor, Settings, Store};
use merit_policy::command::refusal;
use merit_policy::{Bundle, Finding, Rule};

/// The processor.
#[derive(Default)]
pub struct AllocatorApplier {
    books: Books,
    /// The gate's verdict on the command that comes next; never outlives an input.
    verdict: Option<Verdict>,
}

impl Processor for AllocatorApplier {
    type Ports = AllocatorApplierPorts;
    const NAME: &'static str = "allocator-applier";

    fn check(_: &Settings) -> Vec<Problem> {
        Vec::new()
    }

    fn configure(&mut self, _: &Configuration) -> Result<(), Fault> {
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, input: In<'_>, out: &mut Outbox<'_, AllocatorApplierPorts>) -> Result<(), Fault> {
        if let Some(command) = command(input)
            && let Some((rule, detail)) = refusal(at, &command)
        {
            let pool = Some(at.key.name).filter(|name| name.len() <= MAX_NAME).unwrap_or_default();
            return self.begin(at, out).refuse_with(command.kind().name(), pool, rule, &detail);
        }
        match input {
            In::Progress(progress) => self.pass(at, progress.watermark, out),
            In::Tick(tick) => self.pass(at, tick.time, out),
            In::PolicyDecided(decided) => {
                self.verdict = Some(verdict(at, decided, out)?);
                Ok(())
            }
            In::EntityAssigned(home) => {
                self.assign(home)?;
                Ok(())
            }
            In::PolicyBundle(record) => {
                self.books.rules.write().bundle = Bundle::read(record);
                self.hear(at, out).map(|_| ())
            }
            In::RequestAllocation(request) => {
                let verdict = self.verdict_on(at)?.ok_or_else(|| Fault(format!("request at offset {} has no verdict", at.offset)))?;
                self.hear(at, out)?.request(request, verdict)
            }
            In::Approve(approve) => {
                let verdict = self.verdict_on(at)?;
                self.hear(at, out)?.approve(approve, at.key.name, verdict)
            }
            In::Reject(reject) => self.hear(at, out)?.reject(reject, at.key.name),
            In::Release(release) => self.hear(at, out)?.release(release, at.stream == Head::OUTSIDE),
            In::Preempt(preempt) => self.hear(at, out)?.preempt(preempt),
            In::DefinePool(definition) => self.hear(at, out)?.define_pool(definition),
            In::SetQuota(quota) => self.hear(at, out)?.set_quota(quota),
            In::Acked(acked) => self.begin(at, out).acked(acked),
            In::Observed(observed) => self.begin(at, out).observed(observed),
            In::Refused(refused) => self.begin(at, out).refused(refused),
            In::Recheck(recheck) => self.begin(at, out).look_at_waiting(recheck),
        }
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        let Books { pools, allocations, entities, clock, rules } = &mut self.books;
        visit(pools);
        visit(allocations);
        visit(entities);
        visit(clock);
        visit(rules);
    }
}

/// The input as a command, or as the word of a cluster, where it is one that may be refused by itself.
fn command(input: In<'_>) -> Option<Payload<'_>> {
    match input {
        In::RequestAllocation(it) => Some(it.into()),
        In::Approve(it) => Some(it.into()),
        In::Reject(it) => Some(it.into()),
        In::Release(it) => Some(it.into()),
        In::Preempt(it) => Some(it.into()),
        In::DefinePool(it) => Some(it.into()),
        In::SetQuota(it) => Some(it.into()),
        In::Acked(it) => Some(it.into()),
        In::Observed(it) => Some(it.into()),
        In::Refused(it) => Some(it.into()),
        In::PolicyBundle(_) | In::EntityAssigned(_) | In::PolicyDecided(_) | In::Recheck(_) | In::Progress(_) | In::Tick(_) => None,
    }
}

impl AllocatorApplier {
    fn begin<'a, 's>(&'a mut self, at: &Head<'_>, out: &'a mut Outbox<'s, AllocatorApplierPorts>) -> Step<'a, 's> {
        let now = self.books.clock.read().time.stamp(at);
        Step { books: &mut self.books, out, now }
    }

    /// Takes the time of a command, and does what has become due before the command itself.
    fn hear<'a, 's>(&'a mut self, at: &Head<'_>, out: &'a mut Outbox<'s, AllocatorApplierPorts>) -> Result<Step<'a, 's>, Fault> {
        self.books.clock.write().time.hear(at);
        self.fire(at, out)?;
        Ok(self.begin(at, out))
    }

    fn pass(&mut self, at: &Head<'_>, to: EventTime, out: &mut Outbox<'_, AllocatorApplierPorts>) -> Result<(), Fault> {
        self.books.clock.write().time.pass(to);
        self.fire(at, out)
    }

    #[inline]
    fn fire(&mut self, at: &Head<'_>, out: &mut Outbox<'_, AllocatorApplierPorts>) -> Result<(), Fault> {
        loop {
            let clock = self.books.clock.read();
            match clock.timers.first() {
                Some(&(due, id)) if due <= clock.time.now => self.begin(at, out).look(id)?,
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// The verdict that came before this command, where the gate gave one.
    fn verdict_on(&mut self, at: &Head<'_>) -> Result<Option<Verdict>, Fault> {
        match self.verdict.take() {
            Some(verdict) if verdict.offset != at.offset => {
                Err(Fault(format!("the verdict on offset {} met the command at offset {}", verdict.offset, at.offset)))
            }
            verdict => Ok(verdict),
        }
    }

    fn assign(&mut self, home: &EntityAssigned<'_>) -> Result<(), Fault> {
        self.books.entities.entry(&Key::new(home.agent_id))?.division = Some(home.division_id.into());
        Ok(())
    }
}

fn verdict(at: &Head<'_>, decided: &PolicyDecided<'_>, out: &Outbox<'_, AllocatorApplierPorts>) -> Result<Verdict, Fault> {
    let finding = |blocker: merit_core::record::Blocker<'_>| {
        let rule = Rule::from_name(blocker.rule).ok_or_else(|| Fault(format!("the gate found {:?}, which is no rule", blocker.rule)))?;
        Ok(Finding { rule, detail: blocker.detail.into() })
    };
    let findings: Result<Vec<Finding>, Fault> = decided.blockers.iter().map(finding).collect();
    let id = out.id_of(at).ok_or_else(|| Fault("a verdict came from outside".into()))?;
    let &PolicyDecided { allocation_id, not_before, .. } = decided;
    Ok(Verdict { id, offset: at.offset, allocation_id, findings: findings?, not_before })
}
