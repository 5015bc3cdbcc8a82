//! What stands before a schema registry in many houses: it asks for a certificate and a password, and hands on what is allowed.

use openssl::error::ErrorStack;
use openssl::ssl::{SslAcceptor, SslConnector, SslFiletype, SslMethod, SslStream, SslVerifyMode};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// Starts one before the registry at a URL, with the broker's certificate of this folder; gives its own URL. Ends with the process.
/// `authorization` is the value of the header that it lets in.
pub fn start(registry: &str, tls: &Path, authorization: &'static str) -> String {
    let acceptor = acceptor(tls).expect("files of the script");
    let connector = connector(tls).expect("files of the script");
    let address = registry.split('/').nth(2).expect("a URL").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = registry.replace(&address, &listener.local_addr().expect("an address").to_string());
    let both = Arc::new((acceptor, connector));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (both, address) = (Arc::clone(&both), address.clone());
            // Who shows no certificate is not talked to, and who hangs up need not be.
            std::thread::spawn(move || both.0.accept(stream).ok().map(|client| serve(client, &both.1, &address, authorization)));
        }
    });
    own
}

fn acceptor(tls: &Path) -> Result<SslAcceptor, ErrorStack> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_certificate_file(tls.join("broker.pem"), SslFiletype::PEM)?;
    acceptor.set_private_key_file(tls.join("broker.key"), SslFiletype::PEM)?;
    acceptor.set_ca_file(tls.join("ca.pem"))?;
    acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    Ok(acceptor.build())
}

fn connector(tls: &Path) -> Result<SslConnector, ErrorStack> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_ca_file(tls.join("ca.pem"))?;
    Ok(connector.build())
}

/// One request and its answer; then the connection ends.
fn serve(client: SslStream<TcpStream>, connector: &SslConnector, address: &str, authorization: &str) -> Option<()> {
    let mut client = BufReader::new(client);
    let (mut head, mut length, mut is_allowed) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        client.read_line(&mut line).ok()?;
        match line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.trim())) {
            Some((name, value)) if name == "authorization" => is_allowed = value == authorization,
            Some((name, value)) if name == "content-length" => length = value.parse().ok()?,
            _ => {}
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).ok()?;
    let mut answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    if is_allowed {
        let mut registry = connector.connect("127.0.0.1", TcpStream::connect(address).ok()?).ok()?;
        registry.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
        registry.write_all(&body).ok()?;
        answer.clear();
        // It may hang up without a word, which is no error behind a whole answer.
        let _ = registry.read_to_end(&mut answer);
    }
    client.get_mut().write_all(&answer).ok()?;
    client.get_mut().shutdown().ok().map(drop)
}
