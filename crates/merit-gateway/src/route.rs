//! From a request's head to an operation and its parameters.

use std::borrow::Cow;

use hyper::header::HeaderValue;
use hyper::http::request;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, StatusCode, Version, header};
use matchit::{Params, Router};
use percent_encoding::percent_decode_str;

use crate::call::once;
use crate::code;
use crate::operation::Operation;
use crate::parameter::{Parameter, Place};
use crate::refusal::Refusal;

/// Parameters in the order of the table.
pub(crate) type Values = Vec<(&'static str, String)>;

/// The routes of a table.
#[derive(Debug)]
pub(crate) struct Routes(Router<Path>);

#[derive(Debug)]
struct Path {
    /// With the operation's index in the table.
    methods: Vec<(Method, usize)>,
    allow: HeaderValue,
}

impl Routes {
    pub(crate) fn new<A>(operations: &[Operation<A>]) -> Routes {
        let mut router = Router::new();
        for path in operations.iter().map(|operation| operation.path).collect::<std::collections::BTreeSet<_>>() {
            let of_path = operations.iter().enumerate().filter(|(_, operation)| operation.path == path);
            let methods: Vec<_> = of_path.map(|(index, operation)| (operation.method.clone(), index)).collect();
            router.insert(path, Path { allow: allow(&methods), methods }).expect("paths of a table differ in more than names");
        }
        Routes(router)
    }

    /// The operation that a request asks for, by its index, and what the path says. HEAD asks for what GET does.
    pub(crate) fn find<'p>(&self, method: &Method, path: &'p str) -> Result<(usize, Params<'_, 'p>), Refusal> {
        let found = self.0.at(path).map_err(|_| Refusal::new(StatusCode::NOT_FOUND, code::ROUTE_UNKNOWN, "nothing is at this path"))?;
        let asked = if *method == Method::HEAD { &Method::GET } else { method };
        match found.value.methods.iter().find(|(method, _)| method == asked) {
            Some((_, index)) => Ok((*index, found.params)),
            None => {
                let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED, "the path does not take this method");
                Err(Refusal { allow: Some(found.value.allow.clone()), ..refusal })
            }
        }
    }
}

fn allow(methods: &[(Method, usize)]) -> HeaderValue {
    let mut names: Vec<&str> = methods.iter().map(|(method, _)| method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    HeaderValue::try_from(names.join(", ")).expect("methods are tokens")
}

/// Refuses what a page of another site asks by a name of its own that leads to this machine (DNS rebinding).
pub(crate) fn check_host(head: &request::Parts) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, code::HOST_UNKNOWN, message));
    let host = once(&head.headers, "host")?;
    match (head.uri.authority(), host) {
        (None, None) if head.version < Version::HTTP_11 => Ok(()),
        (None, None) => refuse("the request names no host"),
        (authority, host) => {
            let is_local = authority.is_none_or(is_loopback)
                && host.is_none_or(|host| Authority::try_from(host.as_bytes()).is_ok_and(|host| is_loopback(&host)));
            if is_local { Ok(()) } else { refuse("the request names a host that is not this machine by a loopback name") }
        }
    }
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The operation's parameters, each as its kind wants it.
pub(crate) fn values(
    known: &'static [Parameter],
    path: &Params<'_, '_>,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Values, Refusal> {
    if known.is_empty() && query.is_none_or(str::is_empty) {
        return Ok(Vec::new());
    }
    let query = pairs(query.unwrap_or_default())?;
    for (at, (name, _)) in query.iter().enumerate() {
        if !known.iter().any(|parameter| parameter.place == Place::Query && parameter.name == name) {
            return Err(Refusal::parameter(&shown(name), "is not known in the query"));
        }
        if query[..at].iter().any(|(other, _)| other == name) {
            return Err(Refusal::parameter(name, "is given twice"));
        }
    }
    let mut values = Values::with_capacity(known.len());
    for parameter in known {
        let value = match parameter.place {
            Place::Path => path.get(parameter.name).map(|text| decoded(text, parameter.name)).transpose()?,
            Place::Query => query.iter().find(|(name, _)| name == parameter.name).map(|(_, value)| Cow::Borrowed(value.as_str())),
            Place::Header => once(headers, parameter.name)?.map(|value| text(value, parameter.name)).transpose()?,
        };
        match value {
            Some(value) => {
                parameter.kind.check(&value).map_err(|fault| Refusal::parameter(parameter.name, fault))?;
                values.push((parameter.name, value.into_owned()));
            }
            None if parameter.required => return Err(Refusal::parameter(parameter.name, "is missing")),
            None => {}
        }
    }
    Ok(values)
}

fn text<'h>(value: &'h HeaderValue, name: &str) -> Result<Cow<'h, str>, Refusal> {
    str::from_utf8(value.as_bytes()).map(Cow::Borrowed).map_err(|_| Refusal::parameter(name, "is no UTF-8"))
}

/// Names and values of a query, decoded as forms are: `+` is a space.
fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let form = |text: &str| decoded(&text.replace('+', " "), "query").map(Cow::into_owned);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| Ok((form(name)?, form(value)?))).collect()
}

fn decoded<'p>(text: &'p str, name: &str) -> Result<Cow<'p, str>, Refusal> {
    percent_decode_str(text).decode_utf8().map_err(|_| Refusal::parameter(name, "is no UTF-8"))
}

/// As much of a foreign name as a message holds.
fn shown(name: &str) -> String {
    name.chars().filter(|char| !char.is_control()).take(64).collect()
}

/// Refuses a body that is not plain JSON.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::CONTENT_TYPE, message));
    let content_type = once(headers, "content-type")?.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return refuse("the body is not `Content-Type: application/json`");
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => refuse("the body has a `Content-Encoding`"),
        Some(_) | None => Ok(()),
    }
}
