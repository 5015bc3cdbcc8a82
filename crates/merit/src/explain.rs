//! `merit explain`: why something was decided, what followed, and the proof of it.

mod find;
mod words;

#[cfg(test)]
mod tests;

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, session};
use clap::Args;
use find::{Finder, Item};
use merit_core::{Kind, Uuid};
use serde_json::{Map, Value, json};

#[derive(Args)]
pub(crate) struct Explain {
    /// The id of a decision, an allocation, a report or an agent.
    id: String,
    #[command(flatten)]
    place: Place,
}

/// What there is to say about one id.
struct Explanation {
    title: String,
    chapters: Vec<Chapter>,
}

/// Records that answer one question.
struct Chapter {
    /// Its name for machines.
    name: &'static str,
    title: &'static str,
    items: Vec<Item>,
}

const DECISIONS: [&str; 4] = ["eval.promotions", "eval.aggregate-promotions", "alloc.decisions", "alloc.applied"];
const LIFE: [&str; 3] = ["alloc.requests", "alloc.decisions", "alloc.applied"];
const REPORTS: [&str; 3] = ["eval.scores", "eval.late", "eval.rejected"];
const PROPOSALS: [Kind; 4] = [Kind::PromotionProposed, Kind::DemotionProposed, Kind::Held, Kind::ReviewRequired];

/// The chapter that lists instead of telling all.
const LISTED: &str = "decisions";

impl Explain {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let (store, layout) = session::read_log(&self.place)?;
        let finder = Finder::new(&store, &layout)?;
        let unknown = || {
            if Uuid::parse(&self.id).is_some_and(|id| finder.may_lack(id)) {
                return Failure::new(code::ID_PRUNED, format!("the record {} was pruned by the retention of its topic", self.id));
            }
            Failure::new(code::ID_UNKNOWN, format!("nothing in {} has the id {:?}", self.place.data_dir.display(), self.id))
        };
        let mut explanation = explain(&finder, &self.id)?.ok_or_else(unknown)?;
        session::note_pruned(&store, out);
        finder.prove(explanation.chapters.iter_mut().flat_map(|chapter| &mut chapter.items))?;
        if out.json { out.line(as_json(&self.id, &explanation).to_string()) } else { print(&explanation, out) }
    }
}

/// Finds out what an id names: a record, an agent or a report.
fn explain(finder: &Finder<'_>, id: &str) -> Result<Option<Explanation>, Failure> {
    if let Some(record) = Uuid::parse(id).map(|id| finder.record(id)).transpose()?.flatten() {
        return of_record(finder, record).map(Some);
    }
    if let Some(explanation) = of_agent(finder, id)? {
        return Ok(Some(explanation));
    }
    let reports = finder
        .that_mention(&REPORTS, &[id.as_bytes()], |item| item.text("reportId") == Some(id) || item.reported_id().as_deref() == Some(id))?;
    Ok(match reports.is_empty() {
        true => None,
        false => Some(Explanation { title: format!("report {id}"), chapters: vec![chapter("became", "What became of it", reports)] }),
    })
}

fn of_record(finder: &Finder<'_>, record: Item) -> Result<Explanation, Failure> {
    if PROPOSALS.contains(&record.record.kind) {
        return of_proposal(finder, record);
    }
    if let Some(allocation) = record.id_in("allocationId") {
        return of_allocation(finder, allocation);
    }
    if let Some(promotion) = record.id_in("promotionId").map(|id| finder.record(id)).transpose()?.flatten() {
        return of_proposal(finder, promotion);
    }
    let title = format!("{} {}", record.record.kind.name(), record.id);
    Ok(Explanation { title, chapters: vec![chapter("record", "The record", vec![record])] })
}

/// A proposal: the scores behind it, and what became of what it asked for.
fn of_proposal(finder: &Finder<'_>, proposal: Item) -> Result<Explanation, Failure> {
    let scores = finder.records(&proposal.ids_in("/evidence/parents"))?;
    let promotion = match proposal.record.kind {
        Kind::PromotionProposed => Some(proposal.id),
        // It gives back what an earlier promotion obtained, in the record right behind it.
        Kind::DemotionProposed => {
            finder.behind(&proposal)?.filter(|item| item.record.kind == Kind::Release).and_then(|item| item.id_in("promotionId"))
        }
        _ => None,
    };
    let followed = promotion.map(|promotion| life(finder, Some(promotion), Vec::new())).transpose()?.unwrap_or_default();
    let title = format!("{} of {}", words::noun(proposal.record.kind), proposal.text("agentId").unwrap_or_default());
    let chapters = vec![
        chapter("decision", "Why", vec![proposal]),
        chapter("scores", "The score behind it", scores),
        chapter("followed", "What became of its GPUs (decisions carry ledger time, which follows the slowest partition)", followed),
    ];
    Ok(Explanation { title, chapters })
}

fn of_allocation(finder: &Finder<'_>, allocation: Uuid) -> Result<Explanation, Failure> {
    let requested = finder.that_mention(&["alloc.applied"], &[&allocation.0], |item| item.id_in("promotionId").is_some())?;
    let promotion = requested.first().and_then(|item| item.id_in("promotionId"));
    let life = life(finder, promotion, vec![allocation])?;
    let promotion = promotion.map(|id| finder.record(id)).transpose()?.flatten();
    let scores = match &promotion {
        Some(promotion) => finder.records(&promotion.ids_in("/evidence/parents"))?,
        None => Vec::new(),
    };
    let agent = life.iter().find_map(|item| item.text("agentId")).unwrap_or_default().to_owned();
    let chapters = vec![
        chapter("decision", "The promotion behind it", promotion.into_iter().collect()),
        chapter("scores", "The score behind that", scores),
        chapter("followed", "Its life (decisions carry ledger time, which follows the slowest partition)", life),
    ];
    Ok(Explanation { title: format!("allocation {allocation} of {agent}"), chapters })
}

/// Everything about allocations, in order: those given and those of a promotion.
fn life(finder: &Finder<'_>, promotion: Option<Uuid>, mut allocations: Vec<Uuid>) -> Result<Vec<Item>, Failure> {
    if let Some(promotion) = promotion {
        let requested = finder.that_mention(&["alloc.applied"], &[&promotion.0], |item| item.id_in("promotionId") == Some(promotion))?;
        allocations.extend(requested.iter().filter_map(|item| item.id_in("allocationId")));
    }
    let needles: Vec<&[u8]> = allocations.iter().chain(&promotion).map(|id| id.0.as_slice()).collect();
    let mut items = finder.that_mention(&LIFE, &needles, |item| {
        item.id_in("allocationId").is_some_and(|id| allocations.contains(&id))
            || item.taken().any(|id| allocations.contains(&id))
            || (promotion.is_some() && item.id_in("promotionId") == promotion)
    })?;
    finder.prove(items.iter_mut())?;
    // Commands are judged by their digest, so those behind a verdict are found even where they name no allocation.
    let judged: Vec<String> = items.iter().filter_map(|item| item.text("input").map(str::to_owned)).collect();
    let mut commands = finder.commands(&judged)?;
    commands.retain(|command| items.iter().all(|item| item.id != command.id));
    items.extend(commands);
    Ok(in_order(items))
}

/// Decisions in the order of the audit log; each command behind its cause or before its effect.
fn in_order(items: Vec<Item>) -> Vec<Item> {
    let (mut ordered, commands): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| item.proof.is_some());
    ordered.sort_by_key(|item| item.proof.as_ref().map(|proof| proof.index));
    for command in commands {
        let place = place_of(&command, &ordered).unwrap_or(ordered.len());
        ordered.insert(place, command);
    }
    ordered
}

/// What the cluster says stands behind its order; a command stands before the verdict on it, else before what it brought about.
fn place_of(command: &Item, ordered: &[Item]) -> Option<usize> {
    let effects = match command.record.kind {
        Kind::Acked | Kind::Refused => {
            let is_order = |item: &Item| item.record.kind == Kind::AllocationDispatched && item.value["fence"] == command.value["fence"];
            return ordered.iter().position(is_order).map(|order| order + 1);
        }
        Kind::Approve => [Kind::AllocationApproved].as_slice(),
        Kind::Release => &[Kind::AllocationDraining, Kind::AllocationRejected],
        _ => &[Kind::AllocationRejected],
    };
    let digest = command.digest();
    let verdict = ordered.iter().position(|item| item.text("input") == Some(&digest));
    verdict.or_else(|| ordered.iter().position(|item| effects.contains(&item.record.kind)))
}

fn of_agent(finder: &Finder<'_>, agent: &str) -> Result<Option<Explanation>, Failure> {
    let mut decisions = finder.that_mention(&DECISIONS, &[agent.as_bytes()], |item| item.text("agentId") == Some(agent))?;
    let latest = finder.latest_score(agent)?;
    if decisions.is_empty() && latest.is_none() {
        return Ok(None);
    }
    finder.prove(decisions.iter_mut())?;
    decisions.sort_by_key(|item| item.proof.as_ref().map(|proof| proof.index));
    let tier = decisions.iter().rev().find_map(|item| item.text("toTier").or_else(|| item.text("tier")));
    let title = format!("agent {agent}, {}", tier.map_or("no decision on its tier yet".into(), |tier| format!("tier {tier}")));
    let chapters = vec![
        chapter("scores", "Its latest score", latest.into_iter().collect()),
        chapter(LISTED, "All decisions about it; explain any of them by its id", decisions),
    ];
    Ok(Some(Explanation { title, chapters }))
}

fn chapter(name: &'static str, title: &'static str, items: Vec<Item>) -> Chapter {
    Chapter { name, title, items }
}

fn as_json(id: &str, explanation: &Explanation) -> Value {
    let mut object = Map::from_iter([("id".into(), json!(id)), ("title".into(), json!(explanation.title))]);
    for Chapter { name, items, .. } in &explanation.chapters {
        object.insert((*name).into(), items.iter().map(Item::as_json).collect());
    }
    Value::Object(object)
}

fn print(explanation: &Explanation, out: &mut Output) -> Result<(), Failure> {
    out.line(&explanation.title)?;
    for Chapter { name, title, items } in explanation.chapters.iter().filter(|chapter| !chapter.items.is_empty()) {
        out.line(format!("\n{title}"))?;
        let lines = if *name == LISTED { words::brief } else { words::lines };
        for item in items {
            lines(item).iter().try_for_each(|line| out.line(format!("  {line}")))?;
        }
    }
    Ok(())
}
