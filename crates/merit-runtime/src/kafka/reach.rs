//! Whether a cluster answers and lets this program in, asked before anything else: librdkafka itself asks for ever.

use super::client::{CALL, Cluster, Role};
use super::error::ClusterError;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long brokers may still let this program in after one has not.
const OTHERS: Duration = Duration::from_secs(1);

/// Between two looks at what was said.
const LOOK: Duration = Duration::from_millis(100);

/// How long no broker answers before that is told: under load they take their time, and behind 10 s librdkafka takes silence for an end.
const PATIENCE: Duration = Duration::from_secs(8);

#[derive(Default)]
struct Context {
    refused: Mutex<Option<ClusterError>>,
    /// How the last connection ended. That a broker hung up without a word is told in the log alone.
    ended: Mutex<Option<String>>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(refused) = ClusterError::of_connection(&error, reason) {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refused);
        }
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == "FAIL" {
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.into());
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Fails, with the reason, where no broker answers within 8 s or lets this program in.
pub fn reach(cluster: &Cluster) -> Result<(), ClusterError> {
    let attempt = "reach the cluster";
    let mut config = cluster.config(Role::Admin);
    config.set_log_level(RDKafkaLogLevel::Info);
    let client: BaseProducer<Context> = config.create_with_context(Context::default()).map_err(|error| match error {
        // A certificate or key that is none.
        KafkaError::ClientCreation(cause) => ClusterError::Encryption { cause },
        error => ClusterError::call(attempt)(error),
    })?;
    let begun = Instant::now();
    while client.client().fetch_cluster_id(LOOK).is_none() {
        client.poll(Duration::from_millis(1));
        let refused = || client.context().refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        if begun.elapsed() > OTHERS
            && let Some(refused) = refused()
        {
            return Err(refused);
        }
        // librdkafka's word for a connection that ended before the first answer: a broker that encrypts hangs up on who does not.
        let hung_up = |cause: &String| cause.contains("in state APIVERSION_QUERY");
        let mut ended = client.context().ended.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.elapsed() > CALL && ended.as_ref().is_some_and(hung_up) {
            return Err(ClusterError::Encryption { cause: ended.take().unwrap_or_default() });
        }
        if begun.elapsed() > PATIENCE {
            return Err(ClusterError::Call { attempt, cause: ended.take().unwrap_or_else(|| "no broker answers".into()) });
        }
    }
    Ok(())
}
