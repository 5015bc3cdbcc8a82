//! The calls of a schema registry, by Confluent's interface
//! (<https://docs.confluent.io/platform/current/schema-registry/develop/api.html>).

use super::access::Access;
use super::error::ClusterError;
use reqwest::blocking::{Client, ClientBuilder};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity};
use schema_registry_converter::blocking::schema_registry::{SrSettings, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, RawRegisteredSchema, SrCall};
use serde_json::json;
use std::error::Error;
use std::time::Duration;

/// How long one call may take: a registry that is held tells of it within 10 s.
const CALL: Duration = Duration::from_secs(4);

/// What subjects are kept to; design 3.
const COMPATIBILITY: &str = "BACKWARD_TRANSITIVE";

/// Codes with which a registry says that it does not have what it was asked for: subject, version, schema.
const ABSENT: [u32; 3] = [40401, 40402, 40403];

/// A registry.
pub(super) struct Registry {
    settings: SrSettings,
    http: Client,
    /// Name and password.
    login: Option<(String, String)>,
    /// Where it is.
    pub(super) url: String,
}

impl Registry {
    /// The one that a cluster is reached with, if there is one.
    pub(super) fn of(access: &Access) -> Result<Option<Registry>, ClusterError> {
        let Some(url) = access.get("schema.registry.url").map(|url| url.trim_end_matches('/').to_owned()) else { return Ok(None) };
        let failed = |cause: String| ClusterError::Registry { url: url.clone(), attempt: "make a client of", cause };
        let login = access.get("schema.registry.basic.auth.user.info").and_then(|info| info.split_once(':'));
        let mut settings = SrSettings::new_builder(url.clone());
        settings.no_proxy().set_timeout(CALL);
        if let Some((name, password)) = login {
            settings.set_basic_authorization(name, Some(password));
        }
        let settings = settings.build_with(client(access).map_err(failed)?).map_err(|error| failed(said(&error)))?;
        let http = client(access).map_err(failed)?.build().map_err(|error| failed(chain(&error)))?;
        let login = login.map(|(name, password)| (name.to_owned(), password.to_owned()));
        Ok(Some(Registry { settings, http, login, url }))
    }

    /// Id of a schema in a subject; none where the subject does not have it.
    pub(super) fn find(&self, subject: &str, schema: &str) -> Result<Option<u32>, ClusterError> {
        let body = json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
        let found = self.call("ask for a schema of", SrCall::PostForVersion(subject, &body))?;
        found.map(|found| self.id(found)).transpose()
    }

    /// Adds a schema to a subject, which is kept compatible from then on; gives its id.
    pub(super) fn register(&self, subject: &str, schema: &str) -> Result<u32, ClusterError> {
        // Before, where the subject is there: the new schema is held against the old ones. A new subject has it only behind.
        let kept = self.keep_compatible(subject);
        let body = json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
        let registered = match perform_sr_call(&self.settings, SrCall::PostNew(subject, &body)) {
            Ok(registered) => self.id(registered)?,
            Err(error) if raw(&error).is_some_and(is_refusal) => {
                return Err(ClusterError::SchemaRefused { subject: subject.into(), cause: said(&error) });
            }
            Err(error) => return Err(self.failed("register a schema with", &error)),
        };
        kept.or_else(|_| self.keep_compatible(subject))?;
        Ok(registered)
    }

    /// The text of the schema under an id; none where the registry has none.
    pub(super) fn schema(&self, id: u32) -> Result<Option<String>, ClusterError> {
        let attempt = "ask for a schema of";
        let found = self.call(attempt, SrCall::GetById(id))?;
        let none = || ClusterError::Registry { url: self.url.clone(), attempt, cause: format!("it has no text for id {id}") };
        found.map(|found| found.schema.ok_or_else(none)).transpose()
    }

    fn keep_compatible(&self, subject: &str) -> Result<(), ClusterError> {
        let failed =
            |cause: String| ClusterError::Registry { url: self.url.clone(), attempt: "set the compatibility of a subject of", cause };
        let body = json!({ "compatibility": COMPATIBILITY }).to_string();
        let put = self.http.put(format!("{}/config/{subject}", self.url));
        let put = put.header("Content-Type", "application/vnd.schemaregistry.v1+json").body(body);
        let put = match &self.login {
            Some((name, password)) => put.basic_auth(name, Some(password)),
            None => put,
        };
        let answer = put.send().map_err(|error| failed(chain(&error)))?;
        if answer.status().is_success() { Ok(()) } else { Err(failed(format!("{subject}: {}", answer.status()))) }
    }

    /// None where the registry itself says that it does not have it; anything else is a failure of the registry.
    fn call(&self, attempt: &'static str, call: SrCall<'_>) -> Result<Option<RawRegisteredSchema>, ClusterError> {
        match perform_sr_call(&self.settings, call) {
            Ok(found) => Ok(Some(found)),
            Err(error) if raw(&error).is_some_and(|raw| ABSENT.contains(&raw.error_code)) => Ok(None),
            Err(error) => Err(self.failed(attempt, &error)),
        }
    }

    fn id(&self, found: RawRegisteredSchema) -> Result<u32, ClusterError> {
        let none = || ClusterError::Registry { url: self.url.clone(), attempt: "ask for a schema of", cause: "it tells no id".into() };
        found.id.ok_or_else(none)
    }

    fn failed(&self, attempt: &'static str, error: &SRCError) -> ClusterError {
        ClusterError::Registry { url: self.url.clone(), attempt, cause: said(error) }
    }
}

/// What calls are made with: who is trusted, and what is shown. Where the registry is, the file alone says: no proxy, no redirection.
fn client(access: &Access) -> Result<ClientBuilder, String> {
    let read = |name: &str| access.get(name).map(std::fs::read).transpose().map_err(|error| format!("{name}: {error}"));
    let failed = |name: &'static str| move |error: reqwest::Error| format!("{name}: {}", chain(&error));
    let mut client = Client::builder().timeout(CALL).no_proxy().redirect(Policy::none());
    let authority = "schema.registry.ssl.ca.location";
    if let Some(pem) = read(authority)? {
        client = client.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(failed(authority))?);
    }
    let certificate = "schema.registry.ssl.certificate.location";
    if let (Some(pem), Some(key)) = (read(certificate)?, read("schema.registry.ssl.key.location")?) {
        client = client.identity(Identity::from_pkcs8_pem(&pem, &key).map_err(failed(certificate))?);
    }
    Ok(client)
}

/// What the registry itself says, where it said something that can be read.
fn raw(error: &SRCError) -> Option<&RawError> {
    error.source()?.downcast_ref::<RawError>().filter(|raw| raw.error_code != 0)
}

/// Whether the registry means the schema, not itself: incompatible, or invalid; with or without two digits more.
fn is_refusal(raw: &RawError) -> bool {
    [raw.error_code, raw.error_code / 100].iter().any(|code| [409, 422].contains(code))
}

fn said(error: &SRCError) -> String {
    match raw(error) {
        Some(raw) => format!("{} (code {})", raw.message, raw.error_code),
        None => error.source().map_or_else(|| error.error.clone(), |cause| format!("{}: {}", error.error, chain(cause))),
    }
}

/// An error with what led to it.
fn chain(error: &dyn Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.join(": ")
}
