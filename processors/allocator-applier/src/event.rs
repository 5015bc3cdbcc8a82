//! What reaches the allocator and what leaves it.

merit_core::ports! {
    /// Ports of [`AllocatorApplier`](crate::AllocatorApplier).
    AllocatorApplierPorts
    reads {
        RequestAllocation<'a>, Approve<'a>, Reject<'a>, Release<'a>, Preempt<'a>,
        DefinePool<'a>, SetQuota<'a>, PolicyBundle<'a>, EntityAssigned<'a>, PolicyDecided<'a>,
        Acked<'a>, Observed<'a>, Refused<'a>, Recheck<'a>, Progress, Tick
    }
    writes {
        PoolDefined<'a>, QuotaSet<'a>, CommandRefused<'a>,
        AllocationRequested<'a>, AllocationPended<'a>, AllocationApproved<'a>, AllocationDispatched<'a>, AllocationApplied<'a>,
        AllocationConfirmed<'a>, AllocationRejected<'a>, AllocationDraining<'a>, AllocationReleased<'a>, AllocationPreempted<'a>,
        AllocationOutcome<'a>, Recheck<'a>
    }
}
