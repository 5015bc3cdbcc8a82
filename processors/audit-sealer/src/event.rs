//! What the processor reads and writes.

use merit_core::ports;

ports! {
    /// Ports of the audit sealer.
    AuditSealerPorts
    reads { AuditLeaf<'a>, ConfigEpoch<'a> }
    writes { SealedLeaf<'a>, StreamHeads<'a>, AuditIncident<'a> }
}
