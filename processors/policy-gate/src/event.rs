//! What reaches the gate and what leaves it.

merit_core::ports! {
    /// Ports of [`PolicyGate`](crate::PolicyGate).
    PolicyGatePorts
    reads { RequestAllocation<'a>, Approve<'a>, Reject<'a>, Release<'a>, Preempt<'a>, DefinePool<'a>, PolicyBundle<'a>, Progress, Tick }
    writes { PolicyDecided<'a> }
}
