//! The topics of a cluster against those that are wanted: what differs, what a start refuses, and what is made and mended.

use super::client::{CALL, Cluster, Role};
use super::error::{ClusterError, patiently};
use super::reader::{LastError, refuse_hidden};
use super::settings::{self, Setting};
use super::topics::Topics;
use merit_topology::Topology;
use rdkafka::ClientContext;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Settings of a topic by name: value, and whether somebody gave it to the topic.
type Settings = BTreeMap<String, (String, bool)>;

/// How long what was made and altered may take until the brokers tell of it.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// How long what was made may be hidden until it is taken for forbidden; and between two looks.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// A way in which a topic of the cluster is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is not there.
    Missing,
    /// It has another number of partitions.
    Partitions {
        /// Those that it has.
        found: u32,
    },
    /// A setting has another value.
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value; none where the cluster does not tell.
        found: Option<String>,
        /// The value that it has to have.
        wanted: String,
    },
}

/// A topic as it has to be, and how that of the cluster differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Its partitions, as they have to be.
    pub partitions: u32,
    /// Copies of each partition that the cluster keeps, or would.
    pub replication: u32,
    /// In what it differs.
    pub differences: Vec<Difference>,
    required: Vec<Setting>,
    initial: Vec<Setting>,
    /// Settings that somebody gave the topic, by name.
    given: BTreeMap<String, String>,
}

impl Compared {
    /// Whether the cluster has none of that name.
    pub fn is_missing(&self) -> bool {
        self.differences.contains(&Difference::Missing)
    }

    fn to_make(&self) -> NewTopic<'_> {
        let config = self.required.iter().chain(&self.initial).map(|(name, value)| (*name, value.as_str())).collect();
        let replication = TopicReplication::Fixed(self.replication as i32);
        NewTopic { name: &self.name, num_partitions: self.partitions as i32, replication, config }
    }

    /// With what somebody gave it beside: a setting that the call does not name is reset.
    fn to_alter(&self) -> AlterConfig<'_> {
        let given = self.given.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let entries = given.chain(self.required.iter().map(|(name, value)| (*name, value.as_str()))).collect();
        AlterConfig { specifier: ResourceSpecifier::Topic(&self.name), entries }
    }

    fn describe(&self, difference: &Difference) -> String {
        let Compared { name: topic, partitions, .. } = self;
        match difference {
            Difference::Missing => format!("{topic} is missing"),
            Difference::Partitions { found } => format!("{topic} has {found} partitions, not {partitions}"),
            Difference::Setting { name, found: Some(found), wanted } => format!("{topic} has {name} {found}, not {wanted}"),
            Difference::Setting { name, found: None, wanted } => format!("{topic} does not tell its {name}, which has to be {wanted}"),
        }
    }
}

/// What is to be done about the topics of a cluster.
pub struct Plan<'t> {
    admin: Admin,
    topics: &'t Topics,
    topology: &'t Topology,
    /// Every topic that is wanted, by name.
    pub compared: Vec<Compared>,
}

/// Refuses a cluster whose topics are not as they have to be; every difference at once.
pub fn check(cluster: &Cluster, topics: &Topics, topology: &Topology) -> Result<(), ClusterError> {
    refuse(&Admin::new(cluster)?.compare(topics, topology)?)
}

/// Finds out what there is to do, and changes nothing. Refuses what cannot be mended: another number of partitions, since each record
/// has its partition for ever, and a retention that is too short.
pub fn plan<'t>(cluster: &Cluster, topics: &'t Topics, topology: &'t Topology) -> Result<Plan<'t>, ClusterError> {
    settings::refuse_short_retention(topology)?;
    let admin = Admin::new(cluster)?;
    let compared = admin.compare(topics, topology)?;
    let fixed = describe(&compared, |difference| matches!(difference, Difference::Partitions { .. }));
    match fixed.is_empty() {
        true => Ok(Plan { admin, topics, topology, compared }),
        false => Err(ClusterError::PartitionsDiffer { differences: fixed }),
    }
}

fn refuse(compared: &[Compared]) -> Result<(), ClusterError> {
    let differences = describe(compared, |_| true);
    if differences.is_empty() { Ok(()) } else { Err(ClusterError::Differs { differences }) }
}

/// One line a difference that is told.
fn describe(compared: &[Compared], is_told: impl Fn(&Difference) -> bool) -> Vec<String> {
    let differences = compared.iter().flat_map(|topic| topic.differences.iter().map(move |difference| (topic, difference)));
    differences.filter(|(_, difference)| is_told(difference)).map(|(topic, difference)| topic.describe(difference)).collect()
}

impl Plan<'_> {
    /// Names of the topics that are not there.
    pub fn missing(&self) -> Vec<String> {
        self.compared.iter().filter(|topic| topic.is_missing()).map(|topic| topic.name.clone()).collect()
    }

    /// Does it, and waits until every broker that is asked knows it.
    pub fn carry_out(&self) -> Result<(), ClusterError> {
        let (missing, there): (Vec<&Compared>, Vec<&Compared>) = self.compared.iter().partition(|topic| topic.is_missing());
        self.admin.create(&missing)?;
        self.admin.alter(&there.into_iter().filter(|topic| !topic.differences.is_empty()).collect::<Vec<_>>())?;
        let begun = Instant::now();
        loop {
            // A broker that does not know a new topic yet tells as little of it as one that must not.
            match self.admin.compare(self.topics, self.topology).and_then(|compared| refuse(&compared)) {
                Err(ClusterError::Differs { .. }) if begun.elapsed() < TOLD_WITHIN => {}
                Err(ClusterError::Forbidden { .. }) if begun.elapsed() < SHOWN_WITHIN => {}
                known => return known,
            }
            thread::sleep(PAUSE);
        }
    }
}

/// What the brokers say of topics.
struct Admin {
    client: AdminClient<DefaultClientContext>,
    /// Asks for topics. The client for administration does not tell why it has no connection.
    asking: BaseProducer<Asking>,
    cluster: Cluster,
}

struct Asking(LastError);

impl ClientContext for Asking {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.set(&error, reason);
    }
}

impl ProducerContext for Asking {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// A topic of the cluster.
struct Found {
    partitions: u32,
    replication: u32,
}

impl Admin {
    fn new(cluster: &Cluster) -> Result<Admin, ClusterError> {
        let config = cluster.config(Role::Admin);
        let failed = ClusterError::call("make a client");
        let client = config.create().map_err(&failed)?;
        let asking = config.create_with_context(Asking(LastError::default())).map_err(&failed)?;
        Ok(Admin { client, asking, cluster: cluster.clone() })
    }

    /// Every topic that is wanted, beside what the cluster has.
    fn compare(&self, topics: &Topics, topology: &Topology) -> Result<Vec<Compared>, ClusterError> {
        let (brokers, found) = self.topics()?;
        let wanted = topics.wanted();
        let names = wanted.iter().map(|topic| topic.name.as_str());
        let (names, missing): (Vec<&str>, Vec<&str>) = names.partition(|name| found.contains_key(*name));
        self.refuse_hidden(&missing)?;
        let mut values = patiently(|| self.settings(&names))?;
        let compared = wanted.into_iter().map(|topic| {
            let there = found.get(&topic.name);
            let replication = there.map_or_else(|| settings::replication(brokers), |there| there.replication);
            let retention = topology.topics.iter().find(|of| of.name == topic.name).and_then(|of| of.retention);
            let required = settings::required(topic.kept, retention, replication);
            let values = values.remove(&topic.name).unwrap_or_default();
            let mut differences = Vec::new();
            match there {
                None => differences.push(Difference::Missing),
                Some(Found { partitions, .. }) => {
                    let found = *partitions;
                    differences.extend((found != topic.partitions).then_some(Difference::Partitions { found }));
                    differences.extend(required.iter().filter_map(|(name, wanted)| {
                        let found = values.get(*name).map(|(value, _)| value.clone());
                        (found.as_ref() != Some(wanted)).then(|| Difference::Setting { name, found, wanted: wanted.clone() })
                    }));
                }
            }
            let given = values.into_iter().filter(|(_, (_, given))| *given).map(|(name, (value, _))| (name, value)).collect();
            let (name, partitions, initial) = (topic.name, topic.partitions, settings::initial(topic.kept));
            Compared { name, partitions, replication, differences, required, initial, given }
        });
        Ok(compared.collect())
    }

    /// A list of all topics leaves out what this user must not see.
    fn refuse_hidden(&self, missing: &[&str]) -> Result<(), ClusterError> {
        if missing.is_empty() {
            return Ok(());
        }
        // A producer would make the topic that it asks for.
        let looking: BaseConsumer = self.cluster.config(Role::Ends).create().map_err(ClusterError::call("make a client"))?;
        missing.iter().try_for_each(|topic| refuse_hidden(&looking, topic))
    }

    /// How many brokers there are, and every topic.
    fn topics(&self) -> Result<(u32, BTreeMap<String, Found>), ClusterError> {
        let attempt = "ask the cluster for its topics";
        let asked = || {
            self.asking.client().fetch_metadata(None, CALL).map_err(|error| {
                self.asking.poll(Duration::from_millis(20));
                let cause = self.asking.context().0.take().unwrap_or_else(|| error.to_string());
                ClusterError::Call { attempt, cause }
            })
        };
        let metadata = patiently(asked)?;
        let of = |topic: &rdkafka::metadata::MetadataTopic| {
            let replication = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
            (topic.name().to_owned(), Found { partitions: topic.partitions().len() as u32, replication: replication as u32 })
        };
        Ok((metadata.brokers().len() as u32, metadata.topics().iter().map(of).collect()))
    }

    /// Settings of topics that are there: value, and whether somebody gave it to the topic.
    fn settings(&self, names: &[&str]) -> Result<BTreeMap<String, Settings>, ClusterError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let attempt = "ask for the settings of topics";
        let of: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let described = wait(self.client.describe_configs(&of, &options())).map_err(ClusterError::call(attempt))?;
        let mut settings = BTreeMap::new();
        for resource in described {
            let resource = resource.map_err(|code| ClusterError::denied(attempt, "", code, code.to_string()))?;
            let OwnedResourceSpecifier::Topic(name) = resource.specifier else { continue };
            // Every topic has settings. rdkafka tells none, and no error, where they must not be seen.
            if resource.entries.is_empty() {
                return Err(ClusterError::denied(attempt, &name, RDKafkaErrorCode::TopicAuthorizationFailed, String::new()));
            }
            let entries = resource.entries.into_iter();
            let values = entries.filter_map(|entry| Some((entry.name, (entry.value?, entry.source == ConfigSource::DynamicTopic))));
            settings.insert(name, values.collect());
        }
        Ok(settings)
    }

    fn create(&self, topics: &[&Compared]) -> Result<(), ClusterError> {
        if topics.is_empty() {
            return Ok(());
        }
        let new: Vec<NewTopic<'_>> = topics.iter().map(|topic| topic.to_make()).collect();
        let attempt = "make topics";
        let made = wait(self.client.create_topics(&new, &options())).map_err(ClusterError::call(attempt))?;
        made.into_iter().try_for_each(|made| match made {
            // Somebody else made it; it is compared again.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
            Err((name, code)) => Err(ClusterError::denied(attempt, &name, code, format!("{name}: {code}"))),
        })
    }

    fn alter(&self, topics: &[&Compared]) -> Result<(), ClusterError> {
        if topics.is_empty() {
            return Ok(());
        }
        let altered: Vec<AlterConfig<'_>> = topics.iter().map(|topic| topic.to_alter()).collect();
        let attempt = "alter topics";
        let done = wait(self.client.alter_configs(&altered, &options())).map_err(ClusterError::call(attempt))?;
        let failed = done.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |(of, code)| {
            let name = if let OwnedResourceSpecifier::Topic(name) = of { name } else { String::new() };
            Err(ClusterError::denied(attempt, &name, code, format!("{name}: {code}")))
        })
    }
}

/// A cluster under load takes its time to make topics, and a request that came too late is none that failed.
fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CALL * 3)).operation_timeout(Some(CALL * 3))
}

/// Waits for a call; librdkafka bounds it.
fn wait<T>(call: impl Future<Output = T>) -> T {
    struct Waiting(Thread);
    impl Wake for Waiting {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Waiting(thread::current())).into();
    let (mut call, mut context) = (pin!(call), Context::from_waker(&waker));
    loop {
        match call.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
