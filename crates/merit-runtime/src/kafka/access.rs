//! How a cluster and its schema registry are reached: a file of `key=value` lines, `#` before a comment, with librdkafka's names
//! (<https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html>). What is not in [`CLIENT`] or
//! [`REGISTRY`] is refused: everything else is Merit's to settle.

use super::error::ClusterError;
use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What may be said of brokers.
const CLIENT: [&str; 8] = [
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
];

/// What may be said of the schema registry.
const REGISTRY: [&str; 5] = [
    "schema.registry.url",
    "schema.registry.ssl.ca.location",
    "schema.registry.ssl.certificate.location",
    "schema.registry.ssl.key.location",
    "schema.registry.basic.auth.user.info",
];

/// Names of Java's clients, and what is written here instead.
const JAVA: [(&str, &str); 5] = [
    ("ssl.truststore.location", "ssl.ca.location"),
    ("ssl.truststore.certificates", "ssl.ca.location"),
    ("ssl.keystore.location", "ssl.certificate.location and ssl.key.location"),
    ("sasl.jaas.config", "sasl.username and sasl.password"),
    ("sasl.mechanisms", "sasl.mechanism"),
];

/// The largest file, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// How a cluster is reached. By default without encryption and without a name, and there is no registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    settings: BTreeMap<String, String>,
}

/// Names alone: values are secrets.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.settings.keys()).finish()
    }
}

impl Access {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Access, ClusterError> {
        let failed = |problems| ClusterError::Access { path: path.to_owned(), problems };
        let unreadable = |error: std::io::Error| failed(vec![error.to_string()]);
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
            return Err(failed(vec![format!("it has more than {MAX_FILE} bytes")]));
        }
        Access::parse(&std::fs::read_to_string(path).map_err(unreadable)?).map_err(failed)
    }

    /// Reads its text; gives every problem, with its line.
    fn parse(text: &str) -> Result<Access, Vec<String>> {
        let mut access = Access::default();
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(problem) = access.take(line) {
                problems.push(format!("line {number}: {problem}"));
            }
        }
        if problems.is_empty() { Ok(access) } else { Err(problems) }
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let Some((name, value)) = line.split_once('=').map(|(name, value)| (name.trim(), value.trim())) else {
            return Err("it is no `name=value`".into());
        };
        if let Some((_, instead)) = JAVA.iter().find(|(java, _)| *java == name) {
            return Err(format!("{name} is not read here: say {instead}"));
        }
        if !CLIENT.contains(&name) && !REGISTRY.contains(&name) {
            return Err(format!("{name:?} is none of {}", [&CLIENT[..], &REGISTRY[..]].concat().join(", ")));
        }
        if value.is_empty() {
            return Err(format!("{name} has no value"));
        }
        match self.settings.insert(name.into(), value.into()) {
            None => Ok(()),
            Some(_) => Err(format!("{name} is said twice")),
        }
    }

    /// What is said under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Tells a client of librdkafka.
    pub(super) fn tell(&self, config: &mut ClientConfig) {
        for (name, value) in CLIENT.iter().filter_map(|name| self.settings.get_key_value(*name)) {
            config.set(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_every_problem_told_with_its_line() {
        let access = Access::parse("# of the staging cluster\nsecurity.protocol = SSL\n\nschema.registry.url=http://127.0.0.1:8081?a=b\n");
        let access = access.expect("right");
        assert_eq!(access.get("security.protocol"), Some("SSL"));
        assert_eq!(access.get("schema.registry.url"), Some("http://127.0.0.1:8081?a=b"));
        let problems = Access::parse("group.id=x\nsasl.jaas.config=y\nssl.ca.location\nsasl.username=\nsasl.mechanism=A\nsasl.mechanism=B");
        let lines: Vec<String> = problems.expect_err("wrong").iter().map(|problem| problem.chars().take(24).collect()).collect();
        let told = [
            "line 1: \"group.id\" is no",
            "line 2: sasl.jaas.config",
            "line 3: it is no `name=v",
            "line 4: sasl.username ha",
            "line 6: sasl.mechanism i",
        ];
        assert_eq!(lines, told);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let access = Access::parse("sasl.password=hunter2").expect("right");
        assert_eq!(format!("{access:?}"), r#"{"sasl.password"}"#);
    }
}
