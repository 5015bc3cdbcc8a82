//! What the services have in common: the way of a command into the log, and of its answer back.

use super::code;
use crate::call::Call;
use crate::model::fold::Ids;
use crate::model::graph::Graph;
use crate::model::key::{Key, Table};
use crate::model::row::{AllocationRow, IdRow, Lifecycle, RecordRow};
use crate::ops::metrics::Latencies;
use crate::refusal::Refusal;
use hyper::StatusCode;
use merit_core::record::{Headers, Once, ReplyTo};
use merit_core::{Code, Datum, Head, Kind, Payload, Uuid};
use merit_runtime::RuntimeError;
use merit_runtime::frame::Frame;
use merit_runtime::layout::Layout;
use merit_runtime::live::{Command, Inbox, NotTaken, now};
use merit_runtime::store::Store;
use merit_runtime::tables::Tables;
use merit_runtime::task::{Answered, Outcome};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Clock};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// How long a call waits for its answer; then it is told where the answer will be.
const PATIENCE: Duration = Duration::from_secs(5);

/// Calls that wait for the answers to their commands.
#[derive(Debug)]
pub struct Calls {
    copy: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    /// Raised whenever the tables changed.
    folded: watch::Sender<u64>,
}

impl Calls {
    /// Those that this copy takes. `copy` is unlike that of every other copy and of every earlier start.
    pub fn new(copy: String) -> Calls {
        Calls { copy, next: AtomicU64::new(0), waiting: Mutex::default(), folded: watch::Sender::new(0) }
    }

    fn enter(&self) -> (u64, oneshot::Receiver<Vec<u8>>) {
        let call = self.next.fetch_add(1, Relaxed);
        let (send, receive) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(call, send);
        (call, receive)
    }

    fn leave(&self, call: u64) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
    }

    /// Calls that wait now.
    pub fn waiting(&self) -> u64 {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Tells everyone who waits that no answer comes any more.
    pub fn end(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Hands answers to whoever waits for them; the tables have folded what they name.
    pub fn answer(&self, answers: Vec<Vec<u8>>) {
        self.folded.send_modify(|folded| *folded += 1);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for answer in answers {
            let call =
                Answered::decode(&answer).filter(|answered| answered.reply_to.copy == self.copy).map(|answered| answered.reply_to.call);
            if let Some(caller) = call.and_then(|call| waiting.remove(&call)) {
                // Who went away needs no answer.
                let _ = caller.send(answer);
            }
        }
    }
}

/// What the services work with.
pub struct App {
    /// Topics and tasks.
    pub layout: Arc<Layout>,
    /// The log.
    pub store: Arc<Store>,
    /// The read models.
    pub tables: Arc<Tables>,
    /// Names of the streams of the log.
    pub ids: Arc<Ids>,
    /// Where commands go.
    pub inbox: Inbox,
    /// Who waits for answers.
    pub calls: Arc<Calls>,
    /// How long calls wait.
    pub latencies: Latencies,
    /// Every rule that the pipeline can refuse a record by.
    pub rules: Vec<&'static Code>,
}

/// The records that a command led to.
pub(super) struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    fn answered(&self) -> Option<Answered<'_>> {
        Answered::decode(&self.bytes)
    }

    /// Whether the command had come before.
    pub(super) fn is_again(&self) -> bool {
        self.answered().is_some_and(|answered| answered.outcome == Outcome::Again)
    }

    /// Each record: type, id, encoding.
    pub(super) fn records(&self) -> impl Iterator<Item = (Kind, Uuid, &[u8])> {
        let records = self.answered().map(|answered| answered.records);
        let known = |record: merit_runtime::task::AnsweredRecord<'_>| Kind::from_number(u8::try_from(record.kind).ok()?);
        records.into_iter().flat_map(|records| records.iter()).filter_map(move |record| Some((known(record)?, record.id, record.payload)))
    }

    /// The first record of a type.
    pub(super) fn first(&self, kind: Kind) -> Option<(Uuid, &[u8])> {
        self.records().find(|(found, ..)| *found == kind).map(|(_, id, payload)| (id, payload))
    }
}

/// A command in the log's inbox, and where its answer will be.
pub(super) struct Posted {
    number: u64,
    kind: Kind,
    since: Clock,
    answer: oneshot::Receiver<Vec<u8>>,
}

/// A command to be sent.
pub(super) struct Order<'a> {
    /// The topic that it goes to.
    pub(super) topic: &'static str,
    /// Its key there.
    pub(super) key: &'a str,
    /// What it says.
    pub(super) payload: Payload<'a>,
    /// Set where it takes effect once.
    pub(super) once: Option<Once>,
}

impl App {
    /// Sends a command that is well by itself.
    pub(super) fn post(&self, call: &Call, order: &Order<'_>) -> Result<Posted, Refusal> {
        if let Some(flaw) = order.payload.flaw() {
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, crate::code::VALUE_INVALID, flaw.to_string()));
        }
        let (kind, since) = (order.payload.kind(), Clock::now());
        let (number, answer) = self.calls.enter();
        match self.hand_over(call, order, number) {
            Ok(()) => Ok(Posted { number, kind, since, answer }),
            Err(refusal) => {
                self.calls.leave(number);
                Err(refusal)
            }
        }
    }

    /// Waits for what a command led to; none where that takes longer than a call waits: it is in the log, or will be.
    pub(super) async fn led(&self, Posted { number, kind, since, answer }: Posted) -> Result<Option<Answer>, Refusal> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(bytes)) => {
                self.latencies.record(kind, since.elapsed());
                let answer = Answer { bytes };
                match answer.answered().map(|answered| answered.outcome) {
                    Some(Outcome::OtherContent) => Err(key_reused()),
                    Some(Outcome::Ran | Outcome::Again) => Ok(Some(answer)),
                    None => Err(stopped()),
                }
            }
            Ok(Err(_)) => Err(stopped()),
            Err(_) => {
                self.calls.leave(number);
                Ok(None)
            }
        }
    }

    fn hand_over(&self, call: &Call, order: &Order<'_>, number: u64) -> Result<(), Refusal> {
        let partitions = self.layout.all_of(order.topic).ok_or_else(stopped)?;
        let key = merit_core::Key::new(order.key);
        let partition = partitions.start + key.partition(partitions.len() as u32) as usize;
        let mut payload = Vec::with_capacity(256);
        order.payload.put(&mut payload);
        let headers = Headers {
            trace: call.trace.as_ref().map_or("", |trace| trace.as_str()),
            actor: call.principal.name(),
            auth: call.principal.auth(),
            reply_to: Some(ReplyTo { copy: &self.calls.copy, call: number }),
            once: order.once,
        };
        let mut frame = Vec::with_capacity(payload.len() + order.key.len() + 128);
        let (kind, stream) = (order.payload.kind() as u32, u32::from(Head::OUTSIDE));
        Frame { kind, hops: 0, stream, sequence: 0, time: now(), key: order.key, headers: Some(headers), payload: &payload }
            .put(&mut frame);
        self.inbox.send(Command { partition, frame }).map_err(|error| match error {
            NotTaken::Full => Refusal { code: code::STALLED, ..Refusal::overloaded("the log stalls; the request had no effect", 1) },
            NotTaken::Stopped => stopped(),
        })
    }

    /// Reads from the tables until they hold what is wanted, or the time of a call is over.
    pub(super) async fn wait_for<R>(&self, mut look: impl FnMut() -> Result<Option<R>, Refusal>) -> Result<Option<R>, Refusal> {
        let mut folded = self.calls.folded.subscribe();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            match tokio::time::timeout_at(deadline, folded.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(None),
            }
        }
    }

    /// A row of the tables.
    pub(super) fn row(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>, Refusal> {
        self.tables.get(&key).map_err(|error| failed(&error))
    }

    /// The row of an allocation.
    pub(super) fn allocation(&self, id: Uuid) -> Result<Option<Vec<u8>>, Refusal> {
        self.row(Key::of(Table::Allocation).id(id).end())
    }

    /// The row of the last score of an agent, division or product.
    pub(super) fn score(&self, agent: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.row(Key::of(Table::Score).name(agent).end())
    }

    /// What became of the allocation that a promotion asked for.
    pub(super) fn allocation_of(&self, promotion: Uuid) -> Result<Option<(Uuid, Lifecycle)>, Refusal> {
        let row = self.row(Key::of(Table::AllocationOf).id(promotion).end())?;
        let Some(id) = row.as_deref().and_then(IdRow::decode).map(|row| row.id) else { return Ok(None) };
        let row = self.allocation(id)?;
        Ok(row.as_deref().and_then(AllocationRow::decode).map(|row| (id, row.lifecycle)))
    }

    /// The row of a retrain job.
    pub(super) fn job(&self, id: Uuid) -> Result<Option<Vec<u8>>, Refusal> {
        self.row(Key::of(Table::Job).id(id).end())
    }

    /// A proposal by its id.
    pub(super) fn promotion(&self, id: Uuid) -> Result<Option<Vec<u8>>, Refusal> {
        self.row(Key::of(Table::Promotion).id(id).end())
    }

    /// The decisions of the log by what they rest on.
    pub(super) fn graph(&self) -> Graph<'_> {
        Graph { tables: &self.tables, store: &self.store, layout: &self.layout, ids: &self.ids }
    }

    /// A rule of the pipeline as a refusal names it.
    pub(super) fn rule(&self, name: &str, otherwise: &'static Code) -> &'static Code {
        self.rules.iter().find(|rule| rule.name == name).copied().unwrap_or(otherwise)
    }
}

/// Type and encoding of the record in a row.
pub(super) fn record_in(row: &[u8]) -> Option<(Kind, RecordRow<'_>)> {
    let row = RecordRow::decode(row)?;
    Some((Kind::from_number(u8::try_from(row.kind).ok()?)?, row))
}

/// What a command of that body under that key takes effect once by. The scope is who sent it, the operation, and what it is about.
pub(super) fn once(call: &Call, key: Option<&str>, about: &str) -> Option<Once> {
    let key = key?;
    let hash = digest(&["merit idempotency key v1", call.principal.name(), call.path, about, key]);
    let content: [u8; 32] = Sha256::digest(&call.body).into();
    Some(Once { key: first(&hash), content: first(&content) })
}

/// SHA-256 of some texts, each behind its length.
pub(super) fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn first<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&bytes[..N]);
    first
}

pub(super) fn failed(error: &RuntimeError) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, code::TABLES_FAILED, error.to_string())
}

fn stopped() -> Refusal {
    Refusal { code: code::STOPPED, ..Refusal::overloaded("the pipeline has stopped", 5) }
}

pub(super) fn key_reused() -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, code::KEY_REUSED, "the Idempotency-Key came before with another body")
}
