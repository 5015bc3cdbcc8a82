//! The membership of a copy in its consumer group: which tasks are its own.
//!
//! The member consumes nothing: what it owns is read by the [`Reader`](super::reader::Reader), from where the state stands. So a
//! rebalance is an event of its own, and is heard between transactions only.

use super::client::{CALL, Cluster, Role};
use super::error::ClusterError;
use super::reader::LastError;
use super::topics::Topics;
use crate::copy::Refused;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a member owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owned {
    /// Moves whenever something was given or taken.
    pub(super) generation: u64,
    /// The partitions, and the generation in which each was given.
    pub(super) partitions: BTreeMap<usize, u64>,
}

struct Context {
    topics: Arc<Topics>,
    last_error: LastError,
    owned: Mutex<Owned>,
}

impl Context {
    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers(&self, list: &TopicPartitionList) -> Vec<usize> {
        list.elements().iter().filter_map(|element| self.topics.number(element.topic(), element.partition())).collect()
    }

    fn give(&self, consumer: &BaseConsumer<Context>, list: &mut TopicPartitionList) -> Result<(), KafkaError> {
        // Nothing is fetched by this client.
        list.set_all_offsets(Offset::End)?;
        consumer.incremental_assign(list)?;
        if list.count() > 0 {
            consumer.pause(list)?;
        }
        let mut owned = self.owned();
        owned.generation += 1;
        let generation = owned.generation;
        owned.partitions.extend(self.numbers(list).into_iter().map(|number| (number, generation)));
        Ok(())
    }

    fn take(&self, consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut owned = self.owned();
        owned.generation += 1;
        for number in self.numbers(list) {
            owned.partitions.remove(&number);
        }
        drop(owned);
        consumer.incremental_unassign(list)
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.last_error.set(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Context>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.give(consumer, list),
            _ => self.take(consumer, list),
        };
        if let Err(error) = done {
            self.last_error.set(&error, "a rebalance");
        }
    }
}

/// Within how long a member that is fenced twice has another process beside it.
const FENCED_AGAIN: Duration = Duration::from_secs(300);

/// A member of the group.
pub(super) struct Member {
    /// Never closed: a static member stays in the group whoever closes it, and closing while the group moves may wait in librdkafka
    /// for ever. It ends with the process.
    consumer: ManuallyDrop<BaseConsumer<Context>>,
    cluster: Cluster,
    instance: String,
    inputs: Vec<String>,
    /// When it was fenced last.
    fenced: Option<Instant>,
}

impl Member {
    /// Joins the group, for the inputs of every task.
    pub(super) fn join(
        cluster: &Cluster,
        instance: &str,
        inputs: &[&str],
        topics: &Arc<Topics>,
        last_error: &LastError,
    ) -> Result<Member, ClusterError> {
        let context = Context { topics: Arc::clone(topics), last_error: last_error.clone(), owned: Mutex::default() };
        let inputs: Vec<String> = inputs.iter().map(|input| (*input).to_owned()).collect();
        let consumer = open(cluster, instance, &inputs, context)?;
        Ok(Member { consumer, cluster: cluster.clone(), instance: instance.into(), inputs, fenced: None })
    }

    /// Hears what the group decided, and gives what is owned.
    pub(super) fn hear(&mut self) -> Result<Owned, Refused> {
        match self.consumer.poll(Duration::ZERO) {
            Some(Err(error @ KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::FencedInstanceId))) => {
                self.consumer.context().last_error.set(&error, "the group, which this copy joins again");
                self.join_again()?;
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(Refused::Failed(ClusterError::call("stay in the group")(error).into()));
            }
            Some(Err(error)) => {
                self.allowed("stay in the group", "", &error)?;
                self.consumer.context().last_error.set(&error, "the group");
            }
            Some(Ok(_)) | None => {}
        }
        Ok(self.consumer.context().owned().clone())
    }

    /// Ends the copy where an error says that no ACL allows something: on the group, or on that topic.
    fn allowed(&self, attempt: &'static str, topic: &str, error: &KafkaError) -> Result<(), Refused> {
        let code = error.rdkafka_error_code();
        let name = if code == Some(RDKafkaErrorCode::GroupAuthorizationFailed) { &self.cluster.application } else { topic };
        ClusterError::forbidden(attempt, name, code).map_or(Ok(()), |forbidden| Err(Refused::Failed(forbidden.into())))
    }

    /// Joins anew where the group took another for this member, with nothing that it owned before. So it does where a join's answer was
    /// lost and the next one's came first, and all is well. Where there is another process, that one is fenced now and does the same:
    /// whoever is fenced a second time within minutes, the older of the two, ends.
    pub(super) fn join_again(&mut self) -> Result<(), Refused> {
        if self.fenced.is_some_and(|before| before.elapsed() < FENCED_AGAIN) {
            return Err(Refused::Failed(ClusterError::Fenced { instance: self.instance.clone() }.into()));
        }
        self.fenced = Some(Instant::now());
        let before = self.consumer.context();
        let owned = Owned { generation: before.owned().generation + 1, partitions: BTreeMap::new() };
        let context = Context { topics: Arc::clone(&before.topics), last_error: before.last_error.clone(), owned: Mutex::new(owned) };
        let joined = open(&self.cluster, &self.instance, &self.inputs, context);
        self.consumer = joined.map_err(|error| Refused::Failed(error.into()))?;
        Ok(())
    }

    /// What a transaction shows to be of this generation.
    pub(super) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// The offset that the group committed for a partition, 0 where it committed none; waits for one that is being committed.
    pub(super) fn committed(&self, topic: &str, partition: i32) -> Result<u64, Refused> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(topic, partition);
        let again = |error: KafkaError| {
            self.consumer.context().last_error.set(&error, "asking for a committed offset");
            self.allowed("ask how far the group has come", topic, &error).err().unwrap_or(Refused::Retry)
        };
        let list = self.consumer.committed_offsets(list, CALL).map_err(again)?;
        let found = list.elements().first().map(|element| (element.offset(), element.error()));
        match found {
            Some((Offset::Offset(offset), Ok(()))) => Ok(offset as u64),
            Some((_, Ok(()))) => Ok(0),
            Some((_, Err(error))) => Err(again(error)),
            None => Err(Refused::Retry),
        }
    }
}

fn open(
    cluster: &Cluster,
    instance: &str,
    inputs: &[String],
    context: Context,
) -> Result<ManuallyDrop<BaseConsumer<Context>>, ClusterError> {
    let consumer = cluster.config(Role::Member(instance)).create_with_context::<_, BaseConsumer<Context>>(context);
    let consumer = consumer.map_err(ClusterError::call("make a member"))?;
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    consumer.subscribe(&inputs).map_err(ClusterError::call("join the group"))?;
    Ok(ManuallyDrop::new(consumer))
}
