//! Calls of the C library that rdkafka has none for, or a slower one. Nothing else calls it itself.
//!
//! - **Partition queues are read many messages at a call.** rdkafka gives one message a call, each with a lock and an event of its own:
//!   librdkafka's batch call is about four times as fast. It is made for queues of one partition alone, where nothing but messages and
//!   what is wrong with their partition comes: on the queue of a consumer it would swallow rebalances.
//! - **What lingers is sent at once.** rdkafka's own flush waits in steps of a tenth of a second.

#![expect(unsafe_code, reason = "rdkafka has no such calls")]

use rdkafka::bindings::{
    rd_kafka_consume_batch_queue, rd_kafka_flush, rd_kafka_header_cnt, rd_kafka_header_get_all, rd_kafka_headers_t,
    rd_kafka_message_destroy, rd_kafka_message_headers, rd_kafka_message_timestamp, rd_kafka_queue_destroy, rd_kafka_queue_forward,
    rd_kafka_queue_get_partition, rd_kafka_queue_t, rd_kafka_timestamp_type_t, rd_kafka_topic_name,
};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, Timestamp};
use rdkafka::producer::{BaseProducer, Partitioner, Producer, ProducerContext};
use rdkafka::types::{RDKafkaMessage, RDKafkaRespErr};
use std::ffi::{CStr, CString, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;
use std::time::Duration;

/// Has everything sent that waits for more of its partition, and waits a while, or until all is delivered and its reports are served.
pub(super) fn flush<C: ProducerContext<Part>, Part: Partitioner>(producer: &BaseProducer<C, Part>, patience: Duration) {
    let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the producer lives, and serves reports as events, so that none is served by this.
    unsafe { rd_kafka_flush(producer.client().native_ptr(), milliseconds) };
}

/// Messages of one call.
const BATCH: usize = 512;

/// The queue of a partition.
pub(super) struct Queue<C: ConsumerContext> {
    queue: NonNull<rd_kafka_queue_t>,
    /// The queue has to go before its consumer.
    _consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka takes calls on a queue from any thread.
unsafe impl<C: ConsumerContext> Send for Queue<C> {}

impl<C: ConsumerContext> Queue<C> {
    /// Splits a partition off its consumer; to be done before it is assigned, or its first messages go to the consumer's own queue.
    pub(super) fn of(consumer: &Arc<BaseConsumer<C>>, topic: &str, partition: i32) -> Option<Queue<C>> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the consumer lives, and the name ends with a zero byte; it is copied.
        let queue = unsafe { rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let queue = Queue { queue: NonNull::new(queue)?, _consumer: Arc::clone(consumer) };
        // SAFETY: the queue is there until it is dropped.
        unsafe { rd_kafka_queue_forward(queue.queue.as_ptr(), null_mut()) };
        Some(queue)
    }

    /// Gives what is there, `most` at most, and waits for none; returns their number.
    pub(super) fn poll(&self, most: usize, mut each: impl FnMut(Given<'_>)) -> usize {
        let mut given = 0;
        while given < most {
            let mut messages = [null_mut(); BATCH];
            let asked = (most - given).min(BATCH);
            // SAFETY: there is room for as many as are asked for, and the queue is there until it is dropped.
            let found = unsafe { rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages.as_mut_ptr(), asked) };
            // It counts less than none where it fails.
            let found = usize::try_from(found).unwrap_or(0).min(asked);
            // Each is owned, and so destroyed, even where `each` panics.
            let messages: Vec<Fetched> = messages[..found].iter().filter_map(|message| NonNull::new(*message).map(Fetched)).collect();
            messages.iter().for_each(|message| each(message.given()));
            given += found;
            if found < asked {
                break;
            }
        }
        given
    }
}

impl<C: ConsumerContext> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: it is dropped once, before its consumer.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// What a queue holds.
pub(super) enum Given<'f> {
    Message(&'f Fetched),
    /// Everything before that offset is decided, and nothing of it is left.
    End(u64),
    Fault(KafkaError),
}

/// A message that was fetched, until it is dropped.
pub struct Fetched(NonNull<RDKafkaMessage>);

impl Fetched {
    fn raw(&self) -> &RDKafkaMessage {
        // SAFETY: it is there until it is dropped, and nobody changes it.
        unsafe { self.0.as_ref() }
    }

    fn given(&self) -> Given<'_> {
        match self.raw().err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Given::Message(self),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Given::End(self.raw().offset.max(0) as u64),
            code => Given::Fault(KafkaError::MessageConsumption(RDKafkaErrorCode::from(code))),
        }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // SAFETY: it was given to us alone, and is dropped once.
        unsafe { rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// As many bytes from there on, which have to live as long as what the reference is tied to; none where there is nothing.
///
/// # Safety
///
/// Either there is nothing, or as many bytes are readable for as long as `'a`.
unsafe fn bytes<'a>(from: *const c_void, count: usize) -> Option<&'a [u8]> {
    // SAFETY: as above.
    NonNull::new(from.cast_mut()).map(|from| unsafe { std::slice::from_raw_parts(from.as_ptr().cast::<u8>(), count) })
}

impl Message for Fetched {
    type Headers = FetchedHeaders;

    fn key(&self) -> Option<&[u8]> {
        // SAFETY: both live as long as the message.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    fn payload(&self) -> Option<&[u8]> {
        // SAFETY: both live as long as the message.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// None: nobody changes what was fetched.
    unsafe fn payload_mut(&mut self) -> Option<&mut [u8]> {
        None
    }

    fn topic(&self) -> &str {
        // SAFETY: a message that is no error belongs to a topic, whose name lives as long as that.
        let name = unsafe { CStr::from_ptr(rd_kafka_topic_name(self.raw().rkt)) };
        name.to_str().unwrap_or_default()
    }

    fn partition(&self) -> i32 {
        self.raw().partition
    }

    fn offset(&self) -> i64 {
        self.raw().offset
    }

    fn timestamp(&self) -> Timestamp {
        let mut of = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: both are there.
        match (unsafe { rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut of) }, of) {
            (-1, _) | (_, rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE) => Timestamp::NotAvailable,
            (time, rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME) => Timestamp::CreateTime(time),
            (time, rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME) => Timestamp::LogAppendTime(time),
        }
    }

    fn headers(&self) -> Option<&FetchedHeaders> {
        let mut headers = null_mut::<rd_kafka_headers_t>();
        // SAFETY: both are there. What it gives lives as long as the message.
        unsafe {
            let found = rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers);
            (found == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| headers.cast::<FetchedHeaders>().as_ref()).flatten()
        }
    }
}

/// Headers of a message that was fetched: librdkafka's own, behind a reference of the message's life.
#[repr(C)]
pub struct FetchedHeaders {
    _opaque: [u8; 0],
}

impl FetchedHeaders {
    fn raw(&self) -> *const rd_kafka_headers_t {
        std::ptr::from_ref(self).cast()
    }
}

impl Headers for FetchedHeaders {
    fn count(&self) -> usize {
        // SAFETY: they are there.
        unsafe { rd_kafka_header_cnt(self.raw()) }
    }

    fn try_get(&self, at: usize) -> Option<Header<'_, &[u8]>> {
        let (mut name, mut value, mut size) = (null(), null(), 0);
        // SAFETY: they are there, and so is room for the answer; name and value live as long as the headers.
        unsafe {
            let found = rd_kafka_header_get_all(self.raw(), at, &raw mut name, &raw mut value, &raw mut size);
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            // A name that is not UTF-8 is none of ours.
            Some(Header { key: CStr::from_ptr(name).to_str().unwrap_or_default(), value: bytes(value, size) })
        }
    }
}
