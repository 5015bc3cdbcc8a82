//! The document and the routes are one.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use merit_gateway::{DoorError, Limits, bind};
use serde_json::Value;

use crate::wire::{Door, Got};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

async fn ask(door: &Door, method: &str, path: &str) -> Got {
    let mut wire = door.wire().await;
    wire.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
    let mut read = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut wire.stream, &mut read).await;
    let read = String::from_utf8(read).expect("answers are UTF-8");
    let (head, body) = read.split_once("\r\n\r\n").expect("a head");
    Got { status: head[9..12].parse().expect("a status"), head: format!("{head}\r\n"), body: body.to_owned() }
}

async fn document(door: &Door) -> Value {
    ask(door, "GET", "/openapi.json").await.json()
}

#[tokio::test]
async fn every_method_on_every_path_is_in_the_document_or_refused() {
    let door = Door::open(Limits { request: std::time::Duration::from_millis(100), ..Limits::default() });
    let document = document(&door).await;
    let paths = document["paths"].as_object().expect("it has paths");
    assert_eq!(paths.len(), 7, "{:?}", paths.keys());
    for (path, methods) in paths {
        let known = |method: &str| !methods[method.to_ascii_lowercase()].is_null();
        let taken: BTreeSet<&str> = METHODS.into_iter().filter(|method| known(method) || *method == "HEAD" && known("GET")).collect();
        for method in METHODS {
            let got = ask(&door, method, &path.replace("{id}", "a")).await;
            assert_eq!(got.status != 405, taken.contains(method), "{method} {path}: {got:?}");
            assert_ne!(got.status, 404, "{method} {path}");
            if let Some(allow) = got.header("allow") {
                assert_eq!(allow.split(", ").collect::<BTreeSet<_>>(), taken, "{path}");
            }
        }
        for outside in [format!("{path}/"), format!("{path}x/y/z"), format!("/v0{path}")] {
            assert_eq!(ask(&door, "GET", &outside).await.status, 404, "{outside}");
        }
    }
    let table: BTreeSet<_> = door.service.operations().iter().map(|operation| (operation.path, operation.id)).collect();
    let shown = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flat_map(|methods| methods.values());
        methods.map(|method| (path.as_str(), method["operationId"].as_str().unwrap_or_default()))
    });
    assert_eq!(shown.collect::<BTreeSet<_>>(), table);
}

#[tokio::test]
async fn every_answer_of_the_door_is_in_the_document() {
    let door = Door::open(Limits::default());
    let document = document(&door).await;
    let statuses = |path: &str, method: &str| -> Vec<String> {
        document["paths"][path][method]["responses"].as_object().expect("it has answers").keys().cloned().collect()
    };
    assert_eq!(statuses("/notes", "post"), ["201", "400", "408", "413", "415", "421", "422", "429", "500", "503"]);
    assert_eq!(statuses("/notes/{id}", "get"), ["200", "400", "404", "421", "429", "500", "503"]);
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let door = Door::open(Limits::default());
    let document = document(&door).await;
    let mut left = vec![&document];
    let mut references = 0;
    while let Some(value) = left.pop() {
        if let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("a reference into the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
            references += 1;
        }
        left.extend(value.as_object().into_iter().flat_map(|object| object.values()));
        left.extend(value.as_array().into_iter().flatten());
    }
    assert!(20 < references, "{references}");
    assert_eq!(document["components"]["schemas"]["Note"]["additionalProperties"], false, "unknown fields are refused, so it says so");
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let door = Door::open(Limits::default());
    let got = ask(&door, "GET", "/docs").await;
    assert_eq!((got.status, got.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(got.body.contains("/openapi.json"));
    assert!(!got.body.contains("://"), "it names another place");
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8051", "[::ffff:127.0.0.1]:0"] {
        let address: SocketAddr = address.parse().expect("an address");
        assert!(matches!(bind(address), Err(DoorError::NotLoopback { .. })), "{address}");
    }
    let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("there is a free port");
    let address = taken.local_addr().expect("it listens");
    assert!(matches!(bind(address), Err(DoorError::Listen { .. })));
}
