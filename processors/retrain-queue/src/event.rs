//! What reaches the queue and what leaves it.

merit_core::ports! {
    /// Ports of [`RetrainQueue`](crate::RetrainQueue).
    RetrainQueuePorts
    reads { CreateRetrain<'a>, AllocationRequested<'a>, AllocationOutcome<'a>, Progress, Tick }
    writes { RetrainQueued<'a>, RetrainUpdated<'a>, CommandRefused<'a>, RequestAllocation<'a> }
}
