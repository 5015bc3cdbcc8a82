//! Records that carry time and configuration.

use crate::{EventTime, List, datum};

datum! {
    /// Where the answer to a command goes.
    ReplyTo<'a> {
        /// The copy that took the call.
        copy: &'a str,
        /// Number of the call there.
        call: u64,
    }
}

datum! {
    /// What a command that comes again is known by.
    Once {
        /// First 16 bytes of SHA-256 of who sent it, where to, about what, and the sender's own key.
        key: [u8; 16],
        /// XXH3-64 of what was sent.
        content: [u8; 8],
    }
}

datum! {
    /// What travels beside a record from outside; of it, records that follow carry the trace.
    Headers<'a> {
        /// W3C `traceparent` of the call; empty where it had none.
        trace: &'a str,
        /// Who sent it, as authenticated; empty where nobody was.
        actor: &'a str,
        /// How the sender was authenticated.
        auth: &'a str,
        /// Who waits for the answer.
        reply_to: Option<ReplyTo<'a>>,
        /// Set where the command takes effect once, however often it comes.
        once: Option<Once>,
    }
}

impl<'a> Headers<'a> {
    /// Whether somebody wants to know, now or when it comes again, what the record led to.
    pub fn is_answered(&self) -> bool {
        self.reply_to.is_some() || self.once.is_some()
    }

    /// What records carry that follow from one with these.
    pub fn inherited(&self) -> Option<Headers<'a>> {
        let Headers { trace, .. } = *self;
        (!trace.is_empty()).then_some(Headers { trace, actor: "", auth: "", reply_to: None, once: None })
    }
}

datum! {
    /// Time that passed without reports.
    Tick {
        /// Event time up to which the partition may be closed, less grace.
        time: EventTime,
    }
}

datum! {
    /// One parameter of the topology.
    Parameter<'a> {
        /// Dotted path in `topology.toml`.
        path: &'a str,
        /// Its value as text.
        value: &'a str,
    }
}

datum! {
    /// The configuration in force from this record on.
    ConfigEpoch<'a> {
        /// 0, 1, 2, ... in one log.
        number: u64,
        /// Name of the audit log.
        origin: &'a str,
        /// Name of the emitter key.
        key_name: &'a str,
        /// Ed25519 public key of the emitter.
        emitter_key: [u8; 32],
        /// Partitions of `eval.reports`.
        partitions: u32,
        /// Sorted by path.
        parameters: List<'a, Parameter<'a>>,
        /// Where a new lineage begins with it; none at the first.
        lineage: Option<Lineage<'a>>,
    }
}

datum! {
    /// Why every stream begins anew, and which part of the log is outside of any proof by computing it again.
    Lineage<'a> {
        /// What differed from what was computed again: `topic/partition`.
        partition: &'a str,
        /// Why it goes on all the same, for a person.
        reason: &'a str,
        /// The lineage that ends.
        parent: &'a str,
        /// Up to here the log is as computed.
        base: LogEnds<'a>,
        /// From there to here it stands as it was found; state is folded from its inputs.
        ends: LogEnds<'a>,
    }
}

datum! {
    /// Where a log ends.
    LogEnds<'a> {
        /// Outside records so far.
        outside: u64,
        /// The largest time of one of them.
        newest: EventTime,
        /// Each partition's end.
        ends: List<'a, PartitionEnd<'a>>,
    }
}

datum! {
    /// Where one partition ends.
    PartitionEnd<'a> {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: u32,
        /// Offset of the next record.
        end: u64,
    }
}

datum! {
    /// How far one partition of `eval.reports` has closed.
    Progress {
        /// The partition.
        partition: u32,
        /// Its watermark.
        watermark: EventTime,
    }
}
