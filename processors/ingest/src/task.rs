//! Ingest as a processor.

use crate::event::{In, IngestPorts};
use crate::logic::{self, Refusal};
use crate::params::Params;
use crate::state::{Counts, Home, RecentReports};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use merit_core::processor::{Configuration, Depth, MAX_HOPS, Ports, Sent};
use merit_core::profile::MAX_METRICS;
use merit_core::recent::Known;
use merit_core::record::{AssignEntity, EntityAssigned, EvalReport, Metric, RawReport, Rejected, ReportAccepted, ReportDuplicate};
use merit_core::shared::{self, Shared};
use merit_core::table::Single;
use merit_core::{Fault, Fixed, Head, Key, Kind, List, Outbox, Payload, Problem, Processor, Settings, Store, Table};

type Out<'o> = Outbox<'o, IngestPorts>;

/// Decides which reports count.
#[derive(Default)]
pub struct Ingest {
    params: Option<Params>,
    partition: u32,
    partitions: u32,
    homes: Table<Home>,
    recent: Single<RecentReports>,
    counts: Single<Counts>,
}

impl Processor for Ingest {
    type Ports = IngestPorts;
    const NAME: &'static str = "ingest";

    fn check(settings: &Settings) -> Vec<Problem> {
        Params::read(settings).1
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        let (params, _) = Params::read(&configuration.settings);
        self.recent.write().resize(params.recent_reports);
        (self.partition, self.partitions) = (configuration.partition, configuration.partitions);
        self.params = Some(params);
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, input: <IngestPorts as Ports>::In<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        if at.hops > MAX_HOPS {
            let refusal = Refusal { rule: logic::FEEDBACK_DEPTH, detail: format!("fed back {} times; {MAX_HOPS} is the most", at.hops) };
            return self.reject(at, "", payload(input), &refusal, out);
        }
        match input {
            In::EvalReport(report) => self.report(at, report, out),
            In::RawReport(raw) => self.raw(at, raw, out),
            In::AssignEntity(assignment) => match logic::validate_command(&assignment.into()) {
                Ok(()) => self.assign(at, assignment, out),
                Err(refusal) => self.reject(at, "", assignment.into(), &refusal, out),
            },
            In::ProposePromotion(proposal) => match logic::validate_command(&proposal.into()) {
                Ok(()) => self.count(|counts| &mut counts.commands),
                Err(refusal) => self.reject(at, "", proposal.into(), &refusal, out),
            },
            In::AllocationOutcome(_) => self.count(|counts| &mut counts.fed_back),
            In::Tick(_) | In::ConfigEpoch(_) => self.count(|counts| &mut counts.control),
        }
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.homes);
        visit(&mut self.recent);
        visit(&mut self.counts);
    }

    #[inline]
    fn warm(&self, key: &Key<'_>, sent: Option<&Sent>, depth: Depth) {
        self.homes.warm(key, depth);
        if let (Depth::Index, Some(id)) = (depth, sent.and_then(|sent| sent.id)) {
            self.recent.read().warm(&id);
        }
    }
}

impl Ingest {
    fn count(&mut self, class: fn(&mut Counts) -> &mut u64) -> Result<(), Fault> {
        *class(self.counts.write()) += 1;
        Ok(())
    }

    fn report(&mut self, at: &Head<'_>, report: &EvalReport<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        let params = self.params.as_ref().ok_or_else(|| Fault("a report before any configuration".into()))?;
        let key = if at.key.name == report.agent_id { at.key } else { Key::new(report.agent_id) };
        if key.partition(self.partitions) != self.partition {
            self.counts.write().rerouted += 1;
            return out.emit(key, at.time, report).map(drop);
        }
        // Read once for everyone behind; more than are allowed stay as they are and are refused.
        let mut metrics = [Metric { name: "", value: Fixed::ZERO }; MAX_METRICS];
        let slots = metrics.iter_mut().zip(report.metrics);
        let count = slots.map(|(slot, metric)| *slot = metric).count();
        let in_memory = EvalReport { metrics: List::Slice(&metrics[..count]), ..*report };
        let report = if report.metrics.len() <= MAX_METRICS { &in_memory } else { report };
        if let Err(refusal) = logic::validate(report, at.time, params.future, &params.profile) {
            return self.reject(at, report.source, Payload::EvalReport(report), &refusal, out);
        }
        let Sent { id, content } = *at.sent.ok_or_else(|| Fault("a report without digests".into()))?;
        let content = content.to_be_bytes();
        if let Some((_, first)) = id.and_then(|id| self.recent.read().find(&id)) {
            if first.content == content {
                self.counts.write().duplicate += 1;
                let report_id = report.id.unwrap_or_default();
                let duplicate = ReportDuplicate { report_id, agent_id: report.agent_id, offset: first.offset };
                return out.emit(key, at.time, &duplicate).map(drop);
            }
            let (id, offset) = (report.id.unwrap_or_default(), first.offset);
            let detail = format!("id {id:?} was taken by the report at offset {offset}, which has other content");
            return self.reject(at, report.source, Payload::EvalReport(report), &Refusal { rule: logic::ID_REUSED, detail }, out);
        }
        let known = self.homes.read(&key)?;
        let new_metrics = match logic::new_metrics(known.map_or(&[], |home| &home.metrics), report) {
            Ok(new) => new,
            Err(refusal) => return self.reject(at, report.source, Payload::EvalReport(report), &refusal, out),
        };
        self.counts.write().accepted += 1;
        let home = match known {
            Some(home) if home.known && new_metrics == 0 => home,
            _ => self.learn(at, key, report, out)?,
        };
        let derived = if report.id.is_none() { out.next_id().to_string() } else { Default::default() };
        let accepted = ReportAccepted {
            report_id: report.id.unwrap_or(&derived),
            agent_id: report.agent_id,
            division_id: report.division_id.unwrap_or(&home.division_id),
            product_id: report.product_id.or(home.product_id.as_deref()),
            metrics: report.metrics,
            source: report.source,
            timestamp: report.timestamp,
            received_at: at.time,
            window: report.window.unwrap_or(logic::WINDOWS[0]),
            offset: at.offset,
        };
        out.emit(key, report.timestamp, &accepted)?;
        if let Some(id) = id {
            self.recent.write().insert(Known { id, content, offset: at.offset });
        }
        Ok(())
    }

    /// Takes from a report what is not known of its entity yet.
    fn learn(&mut self, at: &Head<'_>, key: Key<'_>, report: &EvalReport<'_>, out: &mut Out<'_>) -> Result<&Home, Fault> {
        let (home, shared) = self.homes.entry_and_shared(&key)?;
        for metric in report.metrics.iter() {
            if !home.metrics.iter().any(|known| **known == *metric.name) {
                home.metrics = shared::with(&home.metrics, metric.name);
            }
        }
        shared.0.share(&mut home.metrics);
        if !home.known {
            let assignment = AssignEntity {
                agent_id: report.agent_id,
                division_id: report.division_id.unwrap_or("default"),
                product_id: report.product_id,
            };
            settle(home, &mut shared.1, at, key, &assignment, out)?;
        }
        Ok(home)
    }

    fn assign(&mut self, at: &Head<'_>, assignment: &AssignEntity<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        self.counts.write().commands += 1;
        let key = Key::new(assignment.agent_id);
        let (home, shared) = self.homes.entry_and_shared(&key)?;
        settle(home, &mut shared.1, at, key, assignment, out)
    }

    fn raw(&mut self, at: &Head<'_>, raw: &RawReport<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        self.counts.write().rejected += 1;
        let schema = out.fingerprint(Kind::RawReport);
        let rejected = self.rejected(at, raw.source, raw.rule, raw.detail, Kind::RawReport, schema, raw.bytes);
        out.emit(Key::new(raw.source), at.time, &rejected).map(drop)
    }

    fn reject(&mut self, at: &Head<'_>, source: &str, input: Payload<'_>, refusal: &Refusal, out: &mut Out<'_>) -> Result<(), Fault> {
        self.counts.write().rejected += 1;
        let mut bytes = Vec::new();
        input.put(&mut bytes);
        let schema = out.fingerprint(input.kind());
        let rejected = self.rejected(at, source, refusal.rule.name, &refusal.detail, input.kind(), schema, &bytes);
        out.emit(Key::new(source), at.time, &rejected).map(drop)
    }

    #[expect(clippy::too_many_arguments, reason = "one a field of the record")]
    fn rejected<'a>(
        &self,
        at: &Head<'_>,
        source: &'a str,
        rule: &'a str,
        detail: &'a str,
        kind: Kind,
        schema: [u8; 32],
        bytes: &'a [u8],
    ) -> Rejected<'a> {
        Rejected {
            source,
            rule,
            detail,
            topic: "eval.reports",
            partition: self.partition,
            offset: at.offset,
            record_type: kind.name(),
            schema,
            bytes,
        }
    }
}

/// Sets a home and tells the allocator where it changed.
fn settle(
    home: &mut Home,
    divisions: &mut Shared<str>,
    at: &Head<'_>,
    key: Key<'_>,
    to: &AssignEntity<'_>,
    out: &mut Out<'_>,
) -> Result<(), Fault> {
    if home.known && *home.division_id == *to.division_id && home.product_id.as_deref() == to.product_id {
        return Ok(());
    }
    home.known = true;
    home.division_id = to.division_id.into();
    divisions.share(&mut home.division_id);
    home.product_id = to.product_id.map(Into::into);
    let assigned = EntityAssigned { agent_id: to.agent_id, division_id: to.division_id, product_id: to.product_id };
    out.emit(key, at.time, &assigned).map(drop)
}

fn payload(input: In<'_>) -> Payload<'_> {
    match input {
        In::EvalReport(value) => value.into(),
        In::RawReport(value) => value.into(),
        In::ProposePromotion(value) => value.into(),
        In::AssignEntity(value) => value.into(),
        In::AllocationOutcome(value) => value.into(),
        In::Tick(value) => value.into(),
        In::ConfigEpoch(value) => value.into(),
    }
}
