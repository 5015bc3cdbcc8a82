//! What reaches the cluster and what leaves it.

merit_core::ports! {
    /// Ports of [`SimulatedCluster`](crate::SimulatedCluster).
    SimulatedClusterPorts
    reads { AllocationDispatched<'a>, Progress, Tick }
    writes { Acked<'a>, Observed<'a> }
}
