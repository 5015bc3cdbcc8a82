//! What a processor is: a pure state machine from a record and its state to records.

use crate::record::{Headers, Kinds};
use crate::{Digest, EventTime, Key, Kind, Payload, Problem, Settings, Store, Uuid};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// Everything about a record but its payload.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The record's key.
    pub key: Key<'a>,
    /// The record's timestamp; for a report, when it was received.
    pub time: EventTime,
    /// Number of the stream it belongs to; [`Head::OUTSIDE`] where a producer wrote it.
    pub stream: u16,
    /// Its place in that stream.
    pub sequence: u64,
    /// Offset of the input record, in its partition, that this record follows from.
    pub offset: u64,
    /// How often what led here was fed back.
    pub hops: u8,
    /// What a report is known by, where it is an input.
    pub sent: Option<&'a Sent>,
    /// What travels beside it.
    pub headers: Option<&'a Headers<'a>>,
}

impl Head<'_> {
    /// Stream number of records that no processor wrote.
    pub const OUTSIDE: u16 = u16::MAX;
}

/// What a report is known by when it comes again, or another under its id.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Of its id; none where it has none.
    pub id: Option<[u8; 16]>,
    /// XXH3-64 of its encoding.
    pub content: u64,
}

/// A record on its way through a sub-topology.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it stands.
    pub head: Head<'a>,
    /// What it says.
    pub payload: Payload<'a>,
}

/// A bug of ours, or a log that another program changed: the partition stops. Bad data is never a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Fault {}

/// What a processor reads and writes; made by [`ports!`](crate::ports), compared with `topology.toml` at every start.
pub trait Ports {
    /// A record that reaches the processor.
    type In<'a>;
    /// A record that leaves it.
    type Out<'a>: Into<Payload<'a>>;
    /// Types that reach it.
    const READS: Kinds;
    /// Types that leave it.
    const WRITES: Kinds;
    /// The payload as an input, where it is one.
    fn accept(payload: Payload<'_>) -> Option<Self::In<'_>>;
}

/// Defines the inputs and outputs of a processor: two closed enums and their conversions.
#[macro_export]
macro_rules! ports {
    ($(#[$meta:meta])* $name:ident
        reads { $($input:ident $(<$input_life:lifetime>)?),* $(,)? }
        writes { $($output:ident $(<$output_life:lifetime>)?),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        /// A record that reaches the processor.
        #[derive(Clone, Copy, Debug)]
        pub enum In<'a> {
            $(#[doc = concat!("[`", stringify!($input), "`](merit_core::record::", stringify!($input), ")")]
            $input(&'a merit_core::record::$input $(<$input_life>)?)),*
        }

        /// A record that leaves the processor.
        #[derive(Clone, Copy, Debug)]
        pub enum Out<'a> {
            $(#[doc = concat!("[`", stringify!($output), "`](merit_core::record::", stringify!($output), ")")]
            $output(&'a merit_core::record::$output $(<$output_life>)?)),*
        }

        impl merit_core::processor::Ports for $name {
            type In<'a> = In<'a>;
            type Out<'a> = Out<'a>;
            const READS: merit_core::record::Kinds = merit_core::record::Kinds::of(&[$(merit_core::Kind::$input),*]);
            const WRITES: merit_core::record::Kinds = merit_core::record::Kinds::of(&[$(merit_core::Kind::$output),*]);
            #[allow(clippy::wildcard_enum_match_arm, reason = "every other record type is not for this processor")]
            fn accept(payload: merit_core::Payload<'_>) -> Option<In<'_>> {
                match payload {
                    $(merit_core::Payload::$input(value) => Some(In::$input(value)),)*
                    _ => None,
                }
            }
        }

        impl<'a> From<Out<'a>> for merit_core::Payload<'a> {
            fn from(out: Out<'a>) -> Self {
                match out { $(Out::$output(value) => merit_core::Payload::$output(value)),* }
            }
        }

        $(impl<'a> From<&'a merit_core::record::$output $(<$output_life>)?> for Out<'a> {
            fn from(value: &'a merit_core::record::$output $(<$output_life>)?) -> Self { Out::$output(value) }
        })*
    };
}

/// What a processor is told at a ConfigEpoch, and again when its state is restored.
#[derive(Debug)]
pub struct Configuration {
    /// Every parameter in force.
    pub settings: Settings,
    /// The partition that this processor works on.
    pub partition: u32,
    /// Partitions of `eval.reports`.
    pub partitions: u32,
    /// Name of the audit log.
    pub origin: String,
    /// Name of the emitter key and the key, Ed25519.
    pub emitter: (String, [u8; 32]),
    /// Number of the ConfigEpoch.
    pub epoch: u64,
}

/// What of a key's state is asked for: where the next of them lies is known once the one before is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Where the key is looked for.
    Index,
    /// The value itself.
    Value,
    /// What it points to.
    Pointed,
}

/// A pure state machine over one partition.
///
/// Invariant: equal inputs in equal order give equal outputs, whatever checkpoints and restores lie between them.
pub trait Processor: Default + Send {
    /// What it reads and writes.
    type Ports: Ports;
    /// Its name in `topology.toml`.
    const NAME: &'static str;

    /// Finds everything that is wrong with its parameters.
    fn check(settings: &Settings) -> Vec<Problem>;

    /// Takes new parameters; [`Processor::check`] found nothing wrong with them.
    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault>;

    /// Takes one record, changes state and emits.
    fn step(&mut self, at: &Head<'_>, input: <Self::Ports as Ports>::In<'_>, out: &mut Outbox<'_, Self::Ports>) -> Result<(), Fault>;

    /// Shows its stores, always the same in the same order.
    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store));

    /// Asks memory for what an input of that key will touch, some records ahead. No effect but on time.
    fn warm(&self, _key: &Key<'_>, _sent: Option<&Sent>, _depth: Depth) {}
}

/// A [`Processor`] whose ports are checked at run time, so that different ones stand in one chain.
pub trait DynProcessor: Send {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What it reads.
    fn reads(&self) -> Kinds;
    /// What it writes.
    fn writes(&self) -> Kinds;
    /// See [`Processor::check`].
    fn check(&self, settings: &Settings) -> Vec<Problem>;
    /// See [`Processor::configure`].
    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault>;
    /// See [`Processor::step`].
    fn step(&mut self, record: &Record<'_>, sink: &mut dyn Sink) -> Result<(), Fault>;
    /// See [`Processor::stores`].
    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store));
    /// See [`Processor::warm`].
    fn warm(&self, key: &Key<'_>, sent: Option<&Sent>, depth: Depth);
}

impl<P: Processor> DynProcessor for P {
    fn name(&self) -> &'static str {
        P::NAME
    }
    fn reads(&self) -> Kinds {
        P::Ports::READS
    }
    fn writes(&self) -> Kinds {
        P::Ports::WRITES
    }
    fn check(&self, settings: &Settings) -> Vec<Problem> {
        P::check(settings)
    }
    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        Processor::configure(self, configuration)
    }
    #[inline]
    fn step(&mut self, record: &Record<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
        match P::Ports::accept(record.payload) {
            Some(input) => Processor::step(self, &record.head, input, &mut Outbox::new(sink)),
            None => Ok(()),
        }
    }
    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        Processor::stores(self, visit);
    }
    fn warm(&self, key: &Key<'_>, sent: Option<&Sent>, depth: Depth) {
        Processor::warm(self, key, sent, depth);
    }
}

/// Makes a processor of a crate.
pub type Factory = fn() -> Box<dyn DynProcessor>;

/// Where records leave a processor to: the runtime numbers them, publishes them, and hands them to the rest of the chain.
pub trait Sink {
    /// Takes a record, returns its sequence.
    fn emit(&mut self, key: Key<'_>, time: EventTime, payload: Payload<'_>) -> Result<u64, Fault>;
    /// The sequence that the next record gets.
    fn next_sequence(&self) -> u64;
    /// The id of a record of this processor.
    fn id(&self, sequence: u64) -> Uuid;
    /// The id of the record with that head; none for a record from outside.
    fn id_of(&self, head: &Head<'_>) -> Option<Uuid>;
    /// Fingerprint of a record type's schema: SHA-256 of its Parsing Canonical Form.
    fn fingerprint(&self, kind: Kind) -> Digest;
}

/// A [`Sink`] that takes only what the ports say.
pub struct Outbox<'s, P> {
    sink: &'s mut dyn Sink,
    ports: PhantomData<P>,
}

impl<'s, P: Ports> Outbox<'s, P> {
    /// Wraps a sink.
    pub fn new(sink: &'s mut dyn Sink) -> Outbox<'s, P> {
        Outbox { sink, ports: PhantomData }
    }

    /// Emits a record and returns its sequence.
    #[inline]
    pub fn emit<'b, T>(&mut self, key: Key<'_>, time: EventTime, record: &'b T) -> Result<u64, Fault>
    where
        P::Out<'b>: From<&'b T>,
    {
        self.sink.emit(key, time, P::Out::from(record).into())
    }

    /// The id that the next record gets.
    pub fn next_id(&self) -> Uuid {
        self.sink.id(self.sink.next_sequence())
    }

    /// The sequence that the next record gets.
    pub fn next_sequence(&self) -> u64 {
        self.sink.next_sequence()
    }

    /// The id of an earlier record of this processor.
    pub fn id(&self, sequence: u64) -> Uuid {
        self.sink.id(sequence)
    }

    /// The id of the record with that head; none for a record from outside.
    pub fn id_of(&self, head: &Head<'_>) -> Option<Uuid> {
        self.sink.id_of(head)
    }

    /// Fingerprint of a record type's schema.
    pub fn fingerprint(&self, kind: Kind) -> Digest {
        self.sink.fingerprint(kind)
    }
}

/// How often a record may be fed back before it is refused as `feedback_depth`; design 4.
pub const MAX_HOPS: u8 = 32;
