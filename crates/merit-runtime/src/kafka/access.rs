//! How a cluster and its schema registry are reached: a file of `key=value` lines, `#` before a comment, with librdkafka's names
//! (<https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html>). What is not in [`CLIENT`] or
//! [`REGISTRY`] is refused: everything else is Merit's to settle.

use super::error::ClusterError;
use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
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

/// Values that a name takes, where they are few.
const VALUES: [(&str, &[&str]); 2] = [
    ("security.protocol", &["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"]),
    ("sasl.mechanism", &["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"]),
];

/// Names of Java's clients, and what is written here instead.
const JAVA: [(&str, &str); 5] = [
    ("ssl.truststore.location", "ssl.ca.location"),
    ("ssl.truststore.certificates", "ssl.ca.location"),
    ("ssl.keystore.location", "ssl.certificate.location and ssl.key.location"),
    ("sasl.jaas.config", "sasl.username and sasl.password"),
    ("sasl.mechanisms", "sasl.mechanism"),
];

/// What is said to nobody else.
const SECRETS: [&str; 3] = ["ssl.key.password", "sasl.password", "schema.registry.basic.auth.user.info"];

/// Bits of a mode that let others than the owner do something.
const OTHERS: u32 = 0o077;

/// The largest file, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// How a cluster is reached. By default without encryption and without a name, and there is no registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Value, and the line that says it.
    settings: BTreeMap<String, (String, usize)>,
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
        let file = std::fs::metadata(path).map_err(unreadable)?;
        if file.len() > MAX_FILE {
            return Err(failed(vec![format!("it has more than {MAX_FILE} bytes")]));
        }
        let access = Access::parse(&std::fs::read_to_string(path).map_err(unreadable)?).map_err(failed)?;
        let problems = access.check_files(file.mode());
        if problems.is_empty() { Ok(access) } else { Err(failed(problems)) }
    }

    /// Reads its text; gives every problem, with its line.
    fn parse(text: &str) -> Result<Access, Vec<String>> {
        let mut access = Access::default();
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(problem) = access.take(line, number) {
                problems.push(format!("line {number}: {problem}"));
            }
        }
        if problems.is_empty() {
            problems = access.check();
        }
        if problems.is_empty() { Ok(access) } else { Err(problems) }
    }

    fn take(&mut self, line: &str, number: usize) -> Result<(), String> {
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
        if let Some((_, values)) = VALUES.iter().find(|(of, values)| *of == name && !values.contains(&value)) {
            return Err(format!("{name} is one of {}", values.join(", ")));
        }
        match self.settings.insert(name.into(), (value.into(), number)) {
            None => Ok(()),
            Some((_, before)) => Err(format!("{name} is said on line {before} already")),
        }
    }

    /// What is said for nothing, and what is missing beside what is said.
    fn check(&self) -> Vec<String> {
        let protocol = self.get("security.protocol").unwrap_or("PLAINTEXT");
        let (encrypts, logs_in) = (protocol.ends_with("SSL"), protocol.starts_with("SASL"));
        let told = |name: &&str| self.settings.contains_key(*name);
        let mut problems = Vec::new();
        for (prefix, is_used, by) in [("ssl.", encrypts, "SSL or SASL_SSL"), ("sasl.", logs_in, "SASL_SSL")] {
            let unused = CLIENT.iter().filter(|name| !is_used && name.starts_with(prefix) && told(name));
            problems.extend(unused.map(|name| self.at(name, &format!("is used with security.protocol={by} alone, not {protocol}"))));
        }
        let needed = ["sasl.mechanism", "sasl.username", "sasl.password"];
        let missing = needed.iter().filter(|name| logs_in && !told(name));
        problems.extend(missing.map(|name| self.at("security.protocol", &format!("is {protocol}, which needs {name}"))));
        if protocol == "SASL_PLAINTEXT" && self.get("sasl.mechanism") == Some("PLAIN") {
            problems.push(self.at("sasl.mechanism", "is PLAIN, which shows the password to whoever listens: use SASL_SSL, or SCRAM"));
        }
        problems.extend(self.check_registry());
        let pairs = [
            ("ssl.certificate.location", "ssl.key.location"),
            ("ssl.key.location", "ssl.certificate.location"),
            ("ssl.key.password", "ssl.key.location"),
            ("schema.registry.ssl.certificate.location", "schema.registry.ssl.key.location"),
            ("schema.registry.ssl.key.location", "schema.registry.ssl.certificate.location"),
        ];
        let alone = pairs.iter().filter(|(name, beside)| told(name) && !told(beside));
        problems.extend(alone.map(|(name, beside)| self.at(name, &format!("needs {beside} beside it"))));
        problems
    }

    fn check_registry(&self) -> Vec<String> {
        let [url, beside @ ..] = REGISTRY;
        let login = "schema.registry.basic.auth.user.info";
        let mut problems = Vec::new();
        let address = self.get(url).unwrap_or_default();
        if self.settings.contains_key(url) && !["http://", "https://"].iter().any(|scheme| address.starts_with(scheme)) {
            problems.push(self.at(url, "is no address that begins with https:// or http://"));
        }
        let is_open = |name: &&&str| !address.starts_with("https://") && self.settings.contains_key(**name);
        problems.extend(beside.iter().filter(is_open).map(|name| self.at(name, &format!("is used with a {url} of https:// alone"))));
        if self.get(login).is_some_and(|login| !login.contains(':')) {
            problems.push(self.at(login, "is no NAME:PASSWORD"));
        }
        problems
    }

    /// Secrets that others can read, with the mode of the file that says them; and files that cannot be read.
    fn check_files(&self, mode: u32) -> Vec<String> {
        let secrets = SECRETS.iter().filter(|name| mode & OTHERS != 0 && self.settings.contains_key(**name));
        let mut problems: Vec<String> =
            secrets.map(|name| self.at(name, "stands in a file that others than its owner can read or write: chmod 600")).collect();

        let files = self.settings.iter().filter(|(name, _)| name.ends_with(".location"));
        let problem = |(name, (path, _)): (&String, &(String, usize))| match File::open(path).and_then(|file| file.metadata()) {
            Err(error) => Some(self.at(name, &format!("is {path}, which cannot be read: {error}"))),
            Ok(file) if !file.is_file() => Some(self.at(name, &format!("is {path}, which is no file"))),
            Ok(file) if name.ends_with("key.location") && file.mode() & OTHERS != 0 => {
                Some(self.at(name, &format!("is {path}, which others than its owner can read or write: chmod 600")))
            }
            Ok(_) => None,
        };
        problems.extend(files.filter_map(problem));
        problems
    }

    /// A problem with what is said under a name.
    fn at(&self, name: &str, problem: &str) -> String {
        let line = self.settings.get(name).map_or(0, |(_, line)| *line);
        format!("line {line}: {name} {problem}")
    }

    /// What is said under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|(value, _)| value.as_str())
    }

    /// Tells a client of librdkafka.
    pub(super) fn tell(&self, config: &mut ClientConfig) {
        for (name, value) in CLIENT.iter().filter_map(|name| Some((*name, self.get(name)?))) {
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
        let problems = Access::parse(
            "group.id=x\nsasl.jaas.config=y\nssl.ca.location\nsasl.username=\nsasl.mechanism=A\nsasl.password=a\nsasl.password=b",
        );
        let lines: Vec<String> = problems.expect_err("wrong").iter().map(|problem| problem.chars().take(24).collect()).collect();
        let told = [
            "line 1: \"group.id\" is no",
            "line 2: sasl.jaas.config",
            "line 3: it is no `name=v",
            "line 4: sasl.username ha",
            "line 5: sasl.mechanism i",
            "line 7: sasl.password is",
        ];
        assert_eq!(lines, told);
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        let problems = |text: &str| Access::parse(text).err().unwrap_or_default();
        let right = "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nsasl.username=a\nsasl.password=b\nssl.ca.location=c";
        let told: [(&str, &[&str]); 9] = [
            ("", &[]),
            (right, &[]),
            (
                "sasl.username=a\nssl.ca.location=c",
                &[
                    "line 2: ssl.ca.location is used with security.protocol=SSL or SASL_SSL alone, not PLAINTEXT",
                    "line 1: sasl.username is used with security.protocol=SASL_SSL alone, not PLAINTEXT",
                ],
            ),
            (
                "security.protocol=SASL_SSL\nsasl.username=a",
                &[
                    "line 1: security.protocol is SASL_SSL, which needs sasl.mechanism",
                    "line 1: security.protocol is SASL_SSL, which needs sasl.password",
                ],
            ),
            ("security.protocol=SSL\nssl.certificate.location=a", &["line 2: ssl.certificate.location needs ssl.key.location beside it"]),
            ("security.protocol=ssl", &["line 1: security.protocol is one of PLAINTEXT, SSL, SASL_SSL, SASL_PLAINTEXT"]),
            (
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=a\nsasl.password=b",
                &["line 2: sasl.mechanism is PLAIN, which shows the password to whoever listens: use SASL_SSL, or SCRAM"],
            ),
            (
                "schema.registry.url=http://a\nschema.registry.basic.auth.user.info=a\nschema.registry.ssl.ca.location=c",
                &[
                    "line 3: schema.registry.ssl.ca.location is used with a schema.registry.url of https:// alone",
                    "line 2: schema.registry.basic.auth.user.info is used with a schema.registry.url of https:// alone",
                    "line 2: schema.registry.basic.auth.user.info is no NAME:PASSWORD",
                ],
            ),
            ("schema.registry.url=ftp://a", &["line 1: schema.registry.url is no address that begins with https:// or http://"]),
        ];
        for (text, expected) in told {
            assert_eq!(problems(text), expected, "{text}");
        }
    }

    #[test]
    fn files_are_there_and_keys_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::TempDir::new().expect("a temporary directory");
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, mode) in [("key", 0o640), ("certificate", 0o644), ("config", 0o604)] {
            std::fs::write(path(name), "").expect("a file");
            std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).expect("our own file");
        }
        let lines = [("security.protocol", "SSL".into()), ("ssl.ca.location", path("ca")), ("ssl.key.location", path("key"))];
        let lines = lines.into_iter().chain([("ssl.certificate.location", path("certificate")), ("ssl.key.password", "a".into())]);
        let text: String = lines.map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(path("config"), text).expect("our own file");
        let Err(ClusterError::Access { problems, .. }) = Access::read(path("config").as_ref()) else { panic!("it is wrong") };
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("line 5: ssl.key.password stands in ") && problems[0].ends_with("chmod 600"), "{problems:?}");
        assert!(problems[1].starts_with("line 2: ssl.ca.location is ") && problems[1].contains("No such file"), "{problems:?}");
        assert!(problems[2].starts_with("line 3: ssl.key.location is ") && problems[2].ends_with("chmod 600"), "{problems:?}");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let access = Access::parse("schema.registry.url=https://a\nschema.registry.basic.auth.user.info=a:hunter2").expect("right");
        assert_eq!(format!("{access:?}"), r#"{"schema.registry.basic.auth.user.info", "schema.registry.url"}"#);
    }
}
