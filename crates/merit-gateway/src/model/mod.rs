//! Read models: what HTTP reads, folded from the topics of the log.
//!
//! Each table is a fold over the records of one topic, in the order of their partition, so it does not matter how partitions
//! interleave: tables that are deleted and folded again are equal to those that were live. Positions are written with the rows.
//!
//! | table | key | folded from |
//! |---|---|---|
//! | `Score`, `Board`, `History` | agent; division, score, agent; agent, minute | `eval.scores`, `eval.aggregate-scores` |
//! | `Promotion`, `PromotionTime` | id; time, id | `eval.promotions`, `eval.aggregate-promotions` |
//! | `Allocation`, `AllocationTime`, `AllocationOf`, `Pool`, `Quota`, `Job` | id; time, id; promotion or agent; names | `alloc.applied` |
//! | `Node`, `Child` | id; parent, id | the decisions of all of these and of `alloc.decisions` |

mod allocations;
pub mod fold;
pub mod graph;
pub mod key;
mod promotions;
pub mod row;
pub(crate) mod scores;

pub use fold::Fold;
