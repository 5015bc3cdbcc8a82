//! The listener: where it stands, whom it lets in, how it closes.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::attend;
use crate::service::Service;

/// Connections that the kernel keeps while nobody accepts.
const BACKLOG: u32 = 1024;

/// After an error of `accept` that is none of the client's: the time in which a descriptor may come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Without TLS whoever reaches the address is the local principal, so it must be one that only this machine reaches.
    #[error("could not listen on {address}: without TLS Merit listens on loopback only; use 127.0.0.1:{} or [::1]:{}", .address.port(), .address.port())]
    NotLoopback { address: SocketAddr },
    #[error("could not listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("could not raise the limit of open files")]
    FileLimit { source: io::Error },
}

/// Listens on a loopback address; port 0 takes a free one. Called inside a tokio runtime.
pub fn bind(address: SocketAddr) -> Result<TcpListener, DoorError> {
    if !address.ip().is_loopback() {
        return Err(DoorError::NotLoopback { address });
    }
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| DoorError::Listen { address, source })
}

/// Raises the process's limit of open files to the highest it may set, and returns it; `None` for no limit.
/// Every connection is an open file, and a shell's usual 1,024 are fewer than [`Limits::connections`](crate::Limits::connections).
pub fn raise_file_limit() -> Result<Option<u64>, DoorError> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).map_err(|error| DoorError::FileLimit { source: error.into() })?;
    Ok(most)
}

/// Serves until `shutdown` is there; then accepts nothing more, and lets requests in flight end within the limit.
pub async fn serve<A: Send + Sync + 'static>(listener: TcpListener, service: Arc<Service<A>>, shutdown: impl Future<Output = ()>) {
    let (close, closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    service.counters().accepted.add();
                    if connections.len() < service.limits().connections {
                        connections.spawn(attend(stream, service.clone(), closing.clone()));
                    } else {
                        refuse(stream, &service);
                    }
                }
                Err(error) => {
                    service.counters().accept_errors.add();
                    if !is_of_client(&error) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
        }
    }
    drop(listener);
    close.send_replace(true);
    let ended = timeout(service.limits().shutdown, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        connections.shutdown().await;
    }
}

/// Says why, if the socket takes it at once.
fn refuse<A: Send + Sync + 'static>(stream: TcpStream, service: &Service<A>) {
    service.counters().refused.add();
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(&service.refuse_bytes(StatusCode::SERVICE_UNAVAILABLE));
    }
}

/// The connection that would have been accepted ended before; the next may be well.
fn is_of_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}
