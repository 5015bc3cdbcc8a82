//! Hysteresis-promoter as a processor.

use crate::armed::ArmedWindows;
use crate::event::{In, PromoterPorts, Promotes};
use crate::logic::{self, Verdict};
use crate::params::{Evaluate, Grant, Params};
use crate::state::{Clock, Direction, Held, OpenWindow, Standing};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::processor::{Configuration, Depth, MAX_HOPS, Ports, Sent};
use merit_core::profile::confidence;
use merit_core::record::{
    Action, AllocationOutcome, Approval, DemotionProposed, EntityAssigned, Evidence, Interval, Outcome, PromotionProposed,
    ProposePromotion, Release, RequestAllocation, ReviewRequired, ScoreUpdated,
};
use merit_core::table::Single;
use merit_core::{EventTime, Fault, Fixed, Head, Key, List, Outbox, Payload, Problem, Processor, Settings, Store, Table, Uuid};

/// Moves entities between tiers.
#[derive(Default)]
pub struct HysteresisPromoter {
    /// Boxed, since every step takes them out and puts them back.
    params: Option<Box<Params>>,
    standings: Table<Standing>,
    clock: Single<Clock>,
    armed: Single<ArmedWindows>,
}

impl Processor for HysteresisPromoter {
    type Ports = PromoterPorts;
    const NAME: &'static str = "hysteresis-promoter";

    fn check(settings: &Settings) -> Vec<Problem> {
        Params::read(settings).1
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        self.begin(Params::read(&configuration.settings).0);
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, input: <PromoterPorts as Ports>::In<'_>, out: &mut Outbox<'_, PromoterPorts>) -> Result<(), Fault> {
        let params = self.params.take().ok_or_else(|| Fault("a record before any configuration".into()))?;
        let done = match input {
            In::ScoreUpdated(score) => self.score(&params, at, score, out),
            In::EntityAssigned(assigned) => self.assigned(assigned),
            // One with a flaw was refused by ingest, which asks the same function.
            In::ProposePromotion(proposal) if Payload::from(proposal).flaw().is_some() => Ok(()),
            In::ProposePromotion(proposal) => self.by_hand(&params, at, proposal, out),
            In::AllocationOutcome(outcome) => self.outcome(at, outcome),
            In::Tick(tick) => {
                let newest = self.clock.read().newest;
                self.clock.write().newest = Some(newest.map_or(tick.time, |newest| newest.max(tick.time)));
                self.close_windows(&params, out)
            }
        };
        self.params = Some(params);
        done
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.standings);
        visit(&mut self.clock);
        visit(&mut self.armed);
    }

    #[inline]
    fn warm(&self, key: &Key<'_>, _: Option<&Sent>, depth: Depth) {
        self.standings.warm(key, depth);
    }
}

/// What was seen when a tier was judged.
struct Seen {
    window: String,
    score: Option<Fixed>,
    threshold: Option<Fixed>,
    confidence: Fixed,
    in_row: u64,
    interval: Option<Interval>,
    now: EventTime,
    parent: Option<Uuid>,
}

impl HysteresisPromoter {
    /// Puts parameters in force.
    pub(crate) fn begin(&mut self, params: Params) {
        self.armed.write().begin(params.profile);
        self.params = Some(Box::new(params));
    }

    /// Judges the score of a division or product, which is at home in itself.
    pub(crate) fn aggregate(&mut self, at: &Head<'_>, score: &ScoreUpdated<'_>, out: &mut Outbox<'_, impl Promotes>) -> Result<(), Fault> {
        let params = self.params.take().ok_or_else(|| Fault("a record before any configuration".into()))?;
        let standing = self.standings.entry(&at.key)?;
        if standing.division != score.division_id {
            standing.division = score.division_id.into();
        }
        let done = self.score(&params, at, score, out);
        self.params = Some(params);
        done
    }

    fn score(
        &mut self,
        params: &Params,
        at: &Head<'_>,
        score: &ScoreUpdated<'_>,
        out: &mut Outbox<'_, impl Promotes>,
    ) -> Result<(), Fault> {
        let watermark = self.watermark(params);
        let standing = self.standings.entry(&at.key)?;
        if standing.profile != params.profile {
            standing.start_over();
            standing.fit(params.tiers.len() as u32);
            standing.profile = params.profile;
        }
        standing.score = (at.stream, at.sequence);
        standing.sequence.observe(score.observation, params.log_two_over_alpha);
        match params.evaluate {
            Evaluate::Report => {
                let Some(window) = score.windows.iter().find(|window| window.name == score.window) else {
                    return Err(Fault(format!("window {:?} has no score", score.window)));
                };
                let (direction, threshold) = logic::direction(params, standing, window.score);
                logic::count(standing, direction);
                if direction != Direction::Stay || standing.lost.is_some() {
                    let seen = Seen {
                        window: score.window.into(),
                        score: Some(window.score),
                        threshold,
                        confidence: score.confidence,
                        in_row: standing.in_row,
                        interval: standing.sequence.interval(),
                        now: score.timestamp,
                        parent: out.id_of(at),
                    };
                    judge(params, at.key, standing, &seen, out)?;
                }
            }
            Evaluate::Window => {
                if logic::observe(params, standing, score.timestamp, watermark, score.observation) {
                    self.armed.write().arm(score.timestamp.pane(params.window), at.key.name);
                }
            }
        }
        let time = score.timestamp.min(score.received_at);
        if self.clock.read().newest.is_none_or(|newest| newest < time) {
            self.clock.write().newest = Some(time);
            self.close_windows(params, out)?;
        }
        Ok(())
    }

    fn watermark(&self, params: &Params) -> EventTime {
        self.clock.read().newest.map_or(EventTime::MIN, |newest| newest.before(params.grace))
    }

    /// Judges every window that the watermark has passed, in the order of (window, key).
    #[inline]
    fn close_windows(&mut self, params: &Params, out: &mut Outbox<'_, impl Promotes>) -> Result<(), Fault> {
        let watermark = self.watermark(params);
        while let Some(number) = self.armed.read().first().filter(|number| logic::end(params, *number) <= watermark) {
            for name in self.armed.write().take(number) {
                self.close(params, number, &name, out)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, params: &Params, number: i64, name: &str, out: &mut Outbox<'_, impl Promotes>) -> Result<(), Fault> {
        let key = Key::new(name);
        let standing = self.standings.entry(&key)?;
        let Some(place) = standing.open.iter().position(|open| open.number == number && open.n >= params.min_reports) else {
            return Ok(()); // gathered under another profile or tier, and forgotten with it
        };
        let open: OpenWindow = standing.open.remove(place);
        let score = logic::window_score(params, &open);
        let (direction, threshold) = logic::direction(params, standing, score);
        logic::count(standing, direction);
        let parent = out.id_of(&Head {
            key,
            time: EventTime::MIN,
            stream: standing.score.0,
            sequence: standing.score.1,
            offset: 0,
            hops: 0,
            sent: None,
            headers: None,
        });
        let seen = Seen {
            window: format!("{}", params.window),
            score: Some(score),
            threshold,
            confidence: confidence(open.n),
            in_row: standing.in_row,
            interval: standing.sequence.interval(),
            now: logic::end(params, number),
            parent,
        };
        judge(params, key, standing, &seen, out)
    }

    fn assigned(&mut self, assigned: &EntityAssigned<'_>) -> Result<(), Fault> {
        self.standings.entry(&Key::new(assigned.agent_id))?.division = assigned.division_id.into();
        Ok(())
    }

    /// A person's proposal: no threshold, tier or dwell stands against it.
    fn by_hand(
        &mut self,
        params: &Params,
        at: &Head<'_>,
        proposal: &ProposePromotion<'_>,
        out: &mut Outbox<'_, impl Promotes>,
    ) -> Result<(), Fault> {
        let key = Key::new(proposal.agent_id);
        let now = self.clock.read().newest.unwrap_or(at.time);
        let standing = self.standings.entry(&key)?;
        let seen = Seen {
            window: "manual".into(),
            score: None,
            threshold: None,
            confidence: proposal.confidence.unwrap_or(Fixed::ONE),
            in_row: 0,
            interval: standing.sequence.interval(),
            now,
            parent: None,
        };
        match proposal.action {
            Action::Promote => {
                let grant = proposal.pool.zip(proposal.delta).map(|(pool, delta)| Grant { pool: pool.into(), delta });
                promote(
                    params,
                    key,
                    standing,
                    &seen,
                    proposal.rationale,
                    proposal.requested_by,
                    grant.as_ref().map(|grant| (grant, Approval::Manual)),
                    out,
                )
            }
            Action::Demote => demote(params, key, standing, &seen, proposal.rationale, proposal.requested_by, out),
        }
    }

    fn outcome(&mut self, at: &Head<'_>, outcome: &AllocationOutcome<'_>) -> Result<(), Fault> {
        if at.hops > MAX_HOPS {
            return Ok(());
        }
        let now = self.clock.read().newest;
        let key = Key::new(outcome.agent_id);
        let held = self.standings.read(&key)?.map_or(&[][..], |standing| &standing.held);
        let Some(place) = held.iter().position(|held| Some(held.promotion) == outcome.promotion_id) else {
            return Ok(()); // given back by our own demotion, or asked for by others
        };
        let standing = self.standings.entry(&key)?;
        match outcome.outcome {
            Outcome::Confirmed => {}
            Outcome::Rejected => {
                standing.take_back(place);
                standing.since = now.or(standing.since);
                standing.start_over();
            }
            Outcome::Released => {
                standing.held.remove(place);
                standing.lost = Some(format!("allocation released: {}", outcome.reason));
            }
        }
        Ok(())
    }
}

fn judge(params: &Params, key: Key<'_>, standing: &mut Standing, seen: &Seen, out: &mut Outbox<'_, impl Promotes>) -> Result<(), Fault> {
    if let Some(lost) = standing.lost.take().filter(|_| standing.tier > 0) {
        return demote(params, key, standing, seen, &lost, &params.requested_by, out);
    }
    let verdict = logic::verdict(params, standing, seen.threshold, seen.interval, seen.now);
    let (Some(score), Some(threshold)) = (seen.score, seen.threshold) else { return Ok(()) };
    let rationale = logic::rationale(params, standing.direction, score, threshold, seen.in_row, seen.interval);
    match verdict {
        Verdict::Stay => Ok(()),
        Verdict::Move(Direction::Down) => demote(params, key, standing, seen, &rationale, &params.requested_by, out),
        Verdict::Move(Direction::Up | Direction::Stay) => {
            let grant = params.grant(&standing.division).map(|grant| (grant, params.approval));
            promote(params, key, standing, seen, &rationale, &params.requested_by, grant, out)
        }
        Verdict::Held | Verdict::Review if standing.announced => Ok(()),
        Verdict::Held => {
            standing.announced = true;
            let (parent, tier) = (seen.parent.as_slice(), logic::tier_name(params, standing.tier));
            let rationale = format!("{rationale}; dwell of {} has not passed", params.dwell);
            let held = merit_core::record::Held {
                agent_id: key.name,
                division_id: &standing.division,
                tier,
                guard: "dwell",
                rationale: &rationale,
                timestamp: seen.now,
                evidence: evidence(params, seen, parent),
            };
            out.emit(key, seen.now, &held).map(drop)
        }
        Verdict::Review => {
            standing.announced = true;
            let (parent, tier) = (seen.parent.as_slice(), logic::tier_name(params, standing.tier));
            let rationale = format!("{rationale} does not prove it");
            let review = ReviewRequired {
                agent_id: key.name,
                division_id: &standing.division,
                tier,
                rationale: &rationale,
                timestamp: seen.now,
                evidence: evidence(params, seen, parent),
            };
            out.emit(key, seen.now, &review).map(drop)
        }
    }
}

fn evidence<'a>(params: &Params, seen: &'a Seen, parents: &'a [Uuid]) -> Evidence<'a> {
    Evidence {
        window: &seen.window,
        score: seen.score,
        threshold: seen.threshold,
        confidence: seen.confidence,
        windows_in_row: seen.in_row,
        interval: seen.interval,
        profile: params.profile,
        parents: List::Slice(parents),
    }
}

#[expect(clippy::too_many_arguments, reason = "one a part of the decision")]
fn promote(
    params: &Params,
    key: Key<'_>,
    standing: &mut Standing,
    seen: &Seen,
    rationale: &str,
    requested_by: &str,
    grant: Option<(&Grant, Approval)>,
    out: &mut Outbox<'_, impl Promotes>,
) -> Result<(), Fault> {
    let to = (standing.tier + 1).min(params.tiers.len() as u32);
    let promoted = PromotionProposed {
        agent_id: key.name,
        division_id: &standing.division,
        from_tier: logic::tier_name(params, standing.tier),
        to_tier: logic::tier_name(params, to),
        rationale,
        requested_by,
        timestamp: seen.now,
        evidence: evidence(params, seen, seen.parent.as_slice()),
    };
    let promotion = out.emit(key, seen.now, &promoted)?;
    let from = core::mem::replace(&mut standing.tier, to);
    standing.since = Some(seen.now);
    standing.lost = None; // an earlier allocation's
    standing.start_over();
    let Some((grant, approval)) = grant else { return Ok(()) };
    let promotion = out.id(promotion);
    let request = RequestAllocation {
        promotion_id: Some(promotion),
        agent_id: key.name,
        division_id: None,
        pool: &grant.pool,
        delta: grant.delta,
        // A person's own words; seed 001's where a threshold was met.
        reason: if seen.threshold.is_some() { &params.reason } else { rationale },
        requested_by,
        confidence: Some(seen.confidence),
        approval,
    };
    standing.held.push(Held { promotion, pool: grant.pool.clone(), from, to });
    out.emit(Key::new(&grant.pool), seen.now, &request).map(drop)
}

fn demote(
    params: &Params,
    key: Key<'_>,
    standing: &mut Standing,
    seen: &Seen,
    rationale: &str,
    requested_by: &str,
    out: &mut Outbox<'_, impl Promotes>,
) -> Result<(), Fault> {
    let to = standing.tier.saturating_sub(1);
    let demoted = DemotionProposed {
        agent_id: key.name,
        division_id: &standing.division,
        from_tier: logic::tier_name(params, standing.tier),
        to_tier: logic::tier_name(params, to),
        rationale,
        requested_by,
        timestamp: seen.now,
        evidence: evidence(params, seen, seen.parent.as_slice()),
    };
    out.emit(key, seen.now, &demoted)?;
    standing.tier = to;
    standing.since = Some(seen.now);
    standing.start_over();
    while let Some(held) = standing.held.pop_if(|held| held.from >= to) {
        let release = Release {
            agent_id: key.name,
            promotion_id: Some(held.promotion),
            allocation_id: None,
            pool: &held.pool,
            reason: rationale,
            requested_by,
        };
        out.emit(Key::new(&held.pool), seen.now, &release)?;
    }
    Ok(())
}
