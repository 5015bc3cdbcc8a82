use super::find::Finder;
use super::{Explanation, explain};
use crate::audit::tests::{good, layout, write};
use merit_core::Kind;

fn chapters(explanation: &Explanation) -> Vec<(&'static str, Vec<Kind>)> {
    let named = |chapter: &super::Chapter| (chapter.name, chapter.items.iter().map(|item| item.record.kind).collect());
    explanation.chapters.iter().map(named).collect()
}

/// Runs `claim` on a log of promotions that wait for a person and are given back by demotions.
fn on_a_log(claim: impl FnOnce(&Finder<'_>)) {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, layout) = (write(&good(), directory.path()), layout());
    claim(&Finder::new(&store, &layout).expect("a log"));
}

#[test]
fn every_decision_is_explained_by_its_id_and_vouched_for_by_a_leaf() {
    on_a_log(|finder| {
        let decisions = finder.that_mention(&super::DECISIONS, &[b"agent-"], |_| true).expect("readable");
        assert!(decisions.len() > 50, "{}", decisions.len());
        for decision in decisions {
            let mut explanation = explain(finder, &decision.id.to_string()).expect("readable").expect("known");
            finder.prove(explanation.chapters.iter_mut().flat_map(|chapter| &mut chapter.items)).expect("readable");
            let mut items = explanation.chapters.iter().flat_map(|chapter| &chapter.items);
            let own = items.find(|item| item.id == decision.id).expect("the decision itself");
            assert!(own.proof.as_ref().is_some_and(|proof| proof.signed_by.is_some()), "{}", decision.value);
        }
    });
}

#[test]
fn a_promotion_is_told_from_its_score_to_the_end_of_its_allocation() {
    on_a_log(|finder| {
        let promotions = finder.that_mention(&["eval.promotions"], &[b"agent-3"], |item| item.record.kind == Kind::PromotionProposed);
        let promotion = promotions.expect("readable").remove(0);
        let explanation = explain(finder, &promotion.id.to_string()).expect("readable").expect("known");
        assert_eq!(
            chapters(&explanation),
            [
                ("decision", vec![Kind::PromotionProposed]),
                ("scores", vec![Kind::ScoreUpdated]),
                (
                    "followed",
                    vec![
                        Kind::RequestAllocation,
                        Kind::PolicyDecided,
                        Kind::AllocationRequested,
                        Kind::AllocationPended,
                        Kind::Release,
                        Kind::AllocationRejected,
                    ]
                ),
            ]
        );
    });
}

#[test]
fn agents_and_reports_are_explained_by_their_ids_and_others_are_unknown() {
    on_a_log(|finder| {
        let score = finder.latest_score("agent-3").expect("readable").expect("a score");
        let report = score.text("reportId").expect("a report").to_owned();
        for (id, first) in [("agent-3", Some(Kind::ScoreUpdated)), (&*report, Some(Kind::ScoreUpdated)), ("agent-", None), ("", None)] {
            let explanation = explain(finder, id).expect("readable");
            let kind = explanation.and_then(|explanation| Some(explanation.chapters.first()?.items.first()?.record.kind));
            assert_eq!(kind, first, "{id:?}");
        }
    });
}
