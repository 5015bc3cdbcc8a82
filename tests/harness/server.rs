//! `merit run` as its callers meet it: two addresses, and answers in JSON.

use crate::directory::Directory;
use crate::process::{Call, Done, HANG, Running};
use serde_json::Value;
use std::ops::Deref;
use ureq::http::{HeaderMap, Request};
use ureq::{Agent, Body};

/// The services of one process, called as a [`Client`] calls them.
pub struct Server {
    /// None behind its end.
    running: Option<Running>,
    client: Client,
}

/// Calls the services; by threads side by side, too.
pub struct Client {
    /// `http://HOST:PORT` of the evaluation service.
    pub evaluation: String,
    /// That of the allocation service.
    pub allocation: String,
    /// That of the operations.
    pub operations: String,
    agent: Agent,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Server {
    /// Starts the services on a directory and waits until they listen.
    pub fn start(directory: &Directory) -> Server {
        Server::of(directory.serve())
    }

    /// Starts the services by a call of the test.
    pub fn of(call: Call) -> Server {
        Server::begun(call).unwrap_or_else(|done| panic!("it ended before it listened: {done:#?}"))
    }

    /// The services, or the end of a process that ended before they listened.
    pub fn begun(call: Call) -> Result<Server, Done> {
        let (running, line) = call.up()?;
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
        let address = |name: &str| format!("http://{}", said[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}")));
        let configuration = Agent::config_builder().http_status_as_error(false).timeout_global(Some(HANG)).max_redirects(0);
        let agent = configuration.allow_non_standard_methods(true).build().into();
        let client =
            Client { evaluation: address("evaluation"), allocation: address("allocation"), operations: address("operations"), agent };
        Ok(Server { running: Some(running), client })
    }

    /// Tells it to end, and checks that it does so well.
    pub fn stop(mut self) -> Done {
        let done = self.running.take().expect("it runs").terminate();
        assert_eq!(done.code, Some(0), "{done:#?}");
        assert!(done.out.contains(r#"{"stopped":true}"#), "{done:#?}");
        done
    }

    /// Ends the stall of its disk.
    pub fn relieve(&self) {
        self.running.as_ref().expect("it runs").relieve();
    }

    /// Kills it while others call it.
    pub fn kill_under_load(&self) {
        self.running.as_ref().expect("it runs").send_kill();
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        assert!(self.running.take().expect("it runs").kill(), "it ended by itself");
    }

    /// Tells it to end, if it still runs, and gives how it ended.
    pub fn end(mut self) -> Done {
        self.running.take().expect("it runs").terminate()
    }
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Client {
    /// The service that a path belongs to.
    pub fn base(&self, path: &str) -> &str {
        if path.starts_with("/alloc") { &self.allocation } else { &self.evaluation }
    }

    /// Reads.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// Reads from one of the services.
    pub fn get_from(&self, base: &str, path: &str) -> Answer {
        self.call(base, "GET", path, &[], "").unwrap_or_else(|error| panic!("GET {base}{path}: {error}"))
    }

    /// Sends JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    /// Sends JSON with more headers.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send("POST", path, headers, &body.to_string())
    }

    /// Sends anything, as JSON where no header says otherwise.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same to a process that may die under the call.
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, ureq::Error> {
        self.call(self.base(path), method, path, headers, body)
    }

    fn call(&self, base: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{base}{path}"));
        if !body.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("Content-Type", "application/json");
        }
        request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = match body {
            "" => self.agent.run(request.body(())?)?,
            body => self.agent.run(request.body(body)?)?,
        };
        let (head, mut body): (_, Body) = response.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, text: body.read_to_string()? })
    }
}

/// A test that fails leaves no process behind.
impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abandon();
        }
    }
}

/// Whether a value has every field of another with that value, and others beside them; lists are compared entry by entry.
pub fn has(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| has(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| has(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// Checks that a value [`has`] another.
pub fn assert_has(found: &Value, wanted: &Value) {
    assert!(has(found, wanted), "{found:#}\nhas not all of\n{wanted:#}");
}

impl Answer {
    /// Its body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {self:#?}"))
    }

    /// Its body, if that is its status.
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:#?}");
        self.json()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Its body, if it refuses so, in the one shape of every refusal.
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.is(status);
        assert_eq!(body["code"], code, "{self:#?}");
        assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "no message: {self:#?}");
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"), "{self:#?}");
        body
    }
}
