//! The page of each service, in a browser.

use merit_tests::directory::{Directory, Profile};
use merit_tests::process::HANG;
use merit_tests::server::Server;
use std::process::Command;

/// A browser that reaches this machine alone, for 10 s of its own time, which a page that waits for nothing does not take.
const BROWSER: [&str; 11] = [
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--virtual-time-budget=10000",
];

/// What a page has come to once its scripts have run, as HTML.
fn shown(directory: &Directory, url: &str) -> String {
    let profile = format!("--user-data-dir={}", directory.file("browser").display());
    let mut browser = Command::new("timeout");
    browser.arg(HANG.as_secs().to_string()).args(BROWSER).args([&profile, "--dump-dom", url]);
    let done = browser.output().unwrap_or_else(|error| panic!("could not start {browser:?}: {error}"));
    assert!(done.status.success(), "chromium must be installed: {done:?}");
    String::from_utf8(done.stdout).expect("a page is UTF-8")
}

#[test]
fn the_page_of_each_service_shows_its_operations_and_needs_nothing_from_outside() {
    let directory = Directory::new(Profile::Default);
    let server = Server::start(&directory);
    for base in [&server.evaluation, &server.allocation, &server.operations] {
        let document = server.get_from(base, "/openapi.json").is(200);
        let page = shown(&directory, &format!("{base}/docs"));
        let title = document["info"]["title"].as_str().expect("a title");
        assert!(page.contains(&format!("<h1 id=\"title\">{title}</h1>")), "no title in {page}");
        let mut operations = 0;
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let (method, summary) = (method.to_uppercase(), operation["summary"].as_str().expect("a summary"));
                let line = format!("<summary><b>{method}</b><code>{path}</code><span> {summary}</span></summary>");
                assert!(page.contains(&line), "no {line} in {page}");
                operations += 1;
            }
        }
        assert_eq!(page.matches("<summary><b>").count(), operations, "each once");
        for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
            assert!(page.contains(&format!("<summary><code>{name}</code></summary>")), "no schema {name} in {page}");
        }
        let source = server.get_from(base, "/docs").text;
        assert!(["//", "src=", "@import", "url("].iter().all(|outside| !source.replace("// ", "").contains(outside)), "{source}");
    }
    server.stop();
}
