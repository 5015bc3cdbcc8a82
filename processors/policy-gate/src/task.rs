//! The adapter: reads state, asks [`logic`](crate::logic), writes state, emits.

use crate::event::{In, PolicyGatePorts};
use crate::logic::{Backing, Case, judge, next_free};
use crate::params::Params;
use crate::state::{Entity, Gate, Waiting};
use alloc::vec::Vec;
use merit_core::processor::Configuration;
use merit_core::record::{Approval, Approve, Blocker, PolicyDecided, RequestAllocation};
use merit_core::table::Single;
use merit_core::{Datum, Digest, EventTime, Fault, Head, Key, List, Outbox, Payload, Problem, Processor, Settings, Store, Table, Uuid};
use merit_policy::command::refusal;
use merit_policy::rule::cure;
use merit_policy::{ALLOW, Bundle, Cure, Finding, Rule};
use sha2::{Digest as _, Sha256};

/// The processor.
#[derive(Default)]
pub struct PolicyGate {
    params: Params,
    gate: Single<Gate>,
    entities: Table<Entity>,
}

impl Processor for PolicyGate {
    type Ports = PolicyGatePorts;
    const NAME: &'static str = "policy-gate";

    fn check(settings: &Settings) -> Vec<Problem> {
        Params::read(settings).1
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        self.params = Params::read(&configuration.settings).0;
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, input: In<'_>, out: &mut Outbox<'_, PolicyGatePorts>) -> Result<(), Fault> {
        if command(input).is_some_and(|command| refusal(at, &command).is_some()) {
            return Ok(()); // The allocator says why.
        }
        match input {
            In::Progress(progress) => self.gate.write().time.pass(progress.watermark),
            In::Tick(tick) => self.gate.write().time.pass(tick.time),
            In::RequestAllocation(request) => return self.request(at, request, out),
            In::Approve(approve) => return self.approve(at, approve, out),
            In::Reject(reject) => {
                self.hear(at).take(reject.allocation_id);
            }
            In::Release(release) => self.hear(at).release(release),
            In::Preempt(_) => drop(self.hear(at)),
            In::DefinePool(definition) => {
                self.hear(at).pools.insert(definition.pool.into());
            }
            In::PolicyBundle(bundle) => self.hear(at).bundle = Bundle::read(bundle),
        }
        Ok(())
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.gate);
        visit(&mut self.entities);
    }
}

/// The input as a command, where it is one that may be refused by itself.
fn command(input: In<'_>) -> Option<Payload<'_>> {
    match input {
        In::RequestAllocation(it) => Some(it.into()),
        In::Approve(it) => Some(it.into()),
        In::Reject(it) => Some(it.into()),
        In::Release(it) => Some(it.into()),
        In::Preempt(it) => Some(it.into()),
        In::DefinePool(it) => Some(it.into()),
        In::PolicyBundle(_) | In::Progress(_) | In::Tick(_) => None,
    }
}

/// What a verdict is about.
struct Subject<'a> {
    allocation_id: Uuid,
    agent_id: &'a str,
    pool: &'a str,
    delta: u64,
    backing: Backing,
    /// SHA-256 of the command.
    input: Digest,
}

impl PolicyGate {
    fn hear(&mut self, at: &Head<'_>) -> &mut Gate {
        let gate = self.gate.write();
        gate.time.hear(at);
        gate
    }

    fn request(&mut self, at: &Head<'_>, request: &RequestAllocation<'_>, out: &mut Outbox<'_, PolicyGatePorts>) -> Result<(), Fault> {
        let backing = match request.approval {
            Approval::Manual => Backing::PersonToCome,
            Approval::Automatic => Backing::Promotion { confidence: request.confidence, least: self.params.confidence },
        };
        let &RequestAllocation { promotion_id, agent_id, pool, delta, .. } = request;
        let allocation_id = out.next_id();
        let subject = Subject { allocation_id, agent_id, pool, delta, backing, input: digest(|bytes| request.put(bytes)) };
        if self.decide(at, &subject, out)? == Some(Cure::Person) {
            let waiting = Waiting { promotion_id, agent_id: agent_id.into(), pool: pool.into(), delta };
            self.gate.write().wait(allocation_id, waiting);
        }
        Ok(())
    }

    fn approve(&mut self, at: &Head<'_>, approve: &Approve<'_>, out: &mut Outbox<'_, PolicyGatePorts>) -> Result<(), Fault> {
        let Some(Waiting { agent_id, pool, delta, .. }) = self.hear(at).take(approve.allocation_id) else {
            return Ok(()); // The allocator knows whether it is unknown, decided, or waits for something else.
        };
        let (allocation_id, backing) = (approve.allocation_id, Backing::Person);
        let input = digest(|bytes| approve.put(bytes));
        let subject = Subject { allocation_id, agent_id: &agent_id, pool: &pool, delta, backing, input };
        self.decide(at, &subject, out).map(|_| ())
    }

    /// Emits the verdict; returns what the request waits for.
    fn decide(&mut self, at: &Head<'_>, subject: &Subject<'_>, out: &mut Outbox<'_, PolicyGatePorts>) -> Result<Option<Cure>, Fault> {
        let gate = self.hear(at);
        let now = gate.time.stamp(at);
        let pool_known = gate.pools.contains(subject.pool);
        let entity = Key::new(subject.agent_id);
        let cooldown = Some(self.params.request_cooldown).filter(|cooldown| cooldown.0 > 0);
        let entry = match cooldown {
            Some(_) => self.entities.read(&entity)?.copied().unwrap_or_default(),
            None => Default::default(),
        };
        let case = Case { pool: subject.pool, delta: subject.delta, pool_known, next_free: entry.next_free, now, backing: subject.backing };
        let findings = judge(&case, &self.gate.read().bundle);
        if let Some(cooldown) = cooldown {
            self.entities.entry(&entity)?.next_free = next_free(&case, &findings, cooldown);
        }
        self.emit(subject, &findings, entry.next_free, now, out)?;
        Ok(cure(findings.iter().map(|finding| finding.rule)))
    }

    fn emit(
        &self,
        subject: &Subject<'_>,
        findings: &[Finding],
        next_free: EventTime,
        now: EventTime,
        out: &mut Outbox<'_, PolicyGatePorts>,
    ) -> Result<(), Fault> {
        let blockers: Vec<Blocker<'_>> = findings.iter().map(Finding::blocker).collect();
        let most_severe = blockers.first().copied().unwrap_or(Blocker { rule: ALLOW, detail: "approved" });
        let early = findings.iter().any(|finding| finding.rule == Rule::RequestCooldown);
        let verdict = PolicyDecided {
            allocation_id: subject.allocation_id,
            agent_id: subject.agent_id,
            pool: subject.pool,
            allow: findings.is_empty(),
            policy_id: most_severe.rule,
            reason: most_severe.detail,
            blockers: List::Slice(&blockers),
            not_before: early.then_some(next_free),
            bundle: self.gate.read().bundle.with_record(|bundle| digest(|bytes| bundle.put(bytes))),
            input: subject.input,
        };
        out.emit(Key::new(subject.pool), now, &verdict).map(|_| ())
    }
}

/// SHA-256 of an encoding.
fn digest(put: impl FnOnce(&mut Vec<u8>)) -> Digest {
    let mut bytes = Vec::new();
    put(&mut bytes);
    Sha256::digest(&bytes).into()
}
