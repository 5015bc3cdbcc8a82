//! What Merit asks of librdkafka, by role.

use super::access::Access;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use std::time::Duration;

/// How long a transaction may be open: what a copy leaves behind that dies holds readers of its topics up for so long.
/// Shorter than [`SESSION`], so that nobody takes a task over while its last transaction can still be committed.
const TRANSACTION: Duration = Duration::from_secs(10);

/// After how long of silence a copy has left, and its tasks go to others.
const SESSION: Duration = Duration::from_secs(15);

/// How long one call may take before it is made again, or its outcome is found out.
pub(super) const CALL: Duration = Duration::from_secs(5);

/// A cluster, and the application that Merit is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Brokers to begin with: `HOST:PORT`, separated by commas.
    pub brokers: String,
    /// `application` of the topology: the consumer group, and what the names of its own topics begin with.
    pub application: String,
    /// How it is reached.
    pub access: Access,
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub enum Role<'a> {
    /// Makes topics and describes them.
    Admin,
    /// Reads partitions from where it is told to, as a member of no group: what is committed only.
    Reader,
    /// The same with what is open: its end of a partition is the high watermark, not the last stable offset.
    Ends,
    /// Asks and says how far the group has come, and joins it never.
    Group,
    /// A member of the group, for ever under that name.
    Member(&'a str),
    /// Writes transactions under that id.
    Transactional(&'a str),
    /// Writes commands, each by itself, once.
    Commands,
    /// Writes a log that was copied, once and in order.
    Restore,
}

impl Cluster {
    /// The settings of a client. Each says why where it is not Kafka's default.
    pub fn config(&self, role: Role<'_>) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("bootstrap.servers", &self.brokers);
        self.access.tell(&mut config);
        config.set("client.id", &self.application);
        // A broker that is back is found again at once.
        config.set("reconnect.backoff.max.ms", "1000");
        match role {
            Role::Admin => {}
            Role::Reader => reading(&mut config, &self.application, "read_committed"),
            Role::Ends => reading(&mut config, &self.application, "read_uncommitted"),
            Role::Group => {
                config.set("group.id", &self.application);
                config.set("enable.auto.commit", "false");
                // Of an offset that a transaction holds open, the outcome is waited for.
                config.set("isolation.level", "read_committed");
            }
            Role::Member(instance) => {
                config.set("group.id", &self.application);
                config.set("group.instance.id", instance);
                // Brokers of today refuse offsets in a transaction under the newer protocol whenever the group moves (KIP-1251).
                config.set("group.protocol", "classic");
                config.set("partition.assignment.strategy", "cooperative-sticky");
                config.set("session.timeout.ms", millis(SESSION));
                config.set("heartbeat.interval.ms", millis(SESSION / 5));
                config.set("enable.auto.commit", "false");
                config.set("enable.auto.offset.store", "false");
                config.set("auto.offset.reset", "error");
                config.set("isolation.level", "read_committed");
            }
            Role::Transactional(id) => {
                writing(&mut config, BATCHED);
                config.set("transactional.id", id);
                config.set("transaction.timeout.ms", millis(TRANSACTION));
                config.set("message.timeout.ms", millis(TRANSACTION - Duration::from_secs(2)));
            }
            Role::Commands => {
                writing(&mut config, SINGLE);
                config.set("enable.idempotence", "true");
                config.set("message.timeout.ms", millis(CALL));
            }
            Role::Restore => {
                writing(&mut config, BATCHED);
                config.set("enable.idempotence", "true");
                // A broker that starts again meanwhile is waited for.
                config.set("message.timeout.ms", "60000");
            }
        }
        config
    }
}

fn reading(config: &mut ClientConfig, group: &str, isolation: &str) {
    // librdkafka wants a name of every consumer, and asks who coordinates it. That of the copies needs no ACL of its own.
    config.set("group.id", group);
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", isolation);
    config.set("enable.partition.eof", "true");
    config.set("check.crcs", "true");
    // A partition that is opened waits until the request under way comes back, and its end is told by one that brings nothing.
    config.set("fetch.wait.max.ms", "10");
    // Within those. By default each record that comes is fetched by itself, and a fetch names every partition to the broker anew.
    config.set("fetch.min.bytes", "100000");
    // By default a full queue is looked at again after a second.
    config.set("fetch.queue.backoff.ms", "10");
    // Of each partition; 64 MiB by default, of which a copy would hold as much for every partition that it is behind in.
    config.set("queued.max.messages.kbytes", "4096");
}

/// How long a record waits for others of its partition: one that comes by itself, and one of many, whose last is followed by a flush.
const SINGLE: Duration = Duration::from_millis(1);
const BATCHED: Duration = Duration::from_millis(10);

fn writing(config: &mut ClientConfig, linger: Duration) {
    config.set("acks", "all");
    config.set("compression.type", "lz4");
    // While a request of a partition is under way, librdkafka 2.12 spins over what waits there: it counts messages where it means
    // requests (`max_requests` in `rd_kafka_toppar_producer_serve`). So what belongs together leaves together, in one of these.
    config.set("linger.ms", millis(linger));
    config.set("batch.size", "4194304");
    // Offsets that are sent right behind a record wait for one of these; 100 by default.
    config.set("retry.backoff.ms", "5");
    config.set("queue.buffering.max.messages", "1000000");
    config.set("queue.buffering.max.kbytes", "262144");
    config.set("message.max.bytes", MAX_MESSAGE.to_string());
}

/// Bytes of the largest message; topics of Merit allow as much.
pub(super) const MAX_MESSAGE: u32 = 8 << 20;

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
