//! What an order leads to.

use crate::params::Params;
use crate::state::{Due, Word};
use merit_core::record::AllocationDispatched;

/// Everything that will be said about an order, in the order in which it will be.
pub(crate) fn answers(params: &Params, order: &AllocationDispatched<'_>) -> [Due; 2] {
    [(Word::Acked, params.acknowledge_after), (Word::Observed, params.observe_after)].map(|(word, after)| Due {
        at: order.timestamp + after,
        agent_id: order.agent_id.into(),
        pool: order.pool.into(),
        fence: order.fence,
        word,
        allocation_id: order.allocation_id,
        quantity: order.quantity,
    })
}
