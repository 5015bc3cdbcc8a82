//! One connection: which HTTP it speaks, and its deadlines.

use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::begun::Begun;
use crate::limits::Limits;
use crate::pace::{Pace, Wait};
use crate::service::Service;

/// An HTTP/2 connection holds this much of bodies that nobody has read yet, in bytes.
const WINDOW_BYTES: u32 = 256 << 10;

/// Attends a connection to its end. `closing` turns true once, when the door closes.
pub(crate) async fn attend<A: Send + Sync + 'static>(stream: TcpStream, service: Arc<Service<A>>, mut closing: watch::Receiver<bool>) {
    let _open = service.counters().connection();
    // Answers are small and each is written whole, so there is nothing to wait for; a socket that refuses this is as good.
    let _ = stream.set_nodelay(true);
    let pace = Arc::new(Pace::new(service.limits()));
    let begun = tokio::select! {
        begun = timeout(service.limits().header, Begun::read(stream, service.clone(), pace.clone())) => begun,
        _ = closing.wait_for(|closing| *closing) => return,
    };
    let begun = match begun {
        Ok(Ok(begun)) => begun,
        Ok(Err(_)) => return,
        Err(_) => return service.counters().header_timeouts.add(),
    };
    let handler = {
        let (service, pace) = (service.clone(), pace.clone());
        service_fn(move |request| service.clone().answer(pace.clone(), request))
    };
    let http2_spoken = begun.is_http2();
    let io = TokioIo::new(begun);
    if http2_spoken {
        drive(http2(service.limits()).serve_connection(io, handler), &service, &pace, closing).await;
    } else {
        drive(http1(service.limits()).serve_connection(io, handler), &service, &pace, closing).await;
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // hyper's own limit in time covers the idle phase too, so `Pace` keeps both.
    // One buffer for each answer, as `Begun` looks for those that hyper gives by itself.
    http.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(limits.head_bytes).half_close(false).writev(false);
    http
}

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(64 << 10)
        // Streams that the client reset before anyone looked at them, and those that we reset for its faults.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128);
    http
}

async fn drive<A: Send + Sync + 'static>(
    connection: impl GracefulConnection,
    service: &Service<A>,
    pace: &Pace,
    mut closing: watch::Receiver<bool>,
) {
    let counters = service.counters();
    let mut connection = pin!(connection);
    let mut deadline = pin!(sleep_until((std::time::Instant::now() + service.limits().header.min(service.limits().idle)).into()));
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            // How it ended is the client's business: whatever a request of it came to was counted there.
            _ = connection.as_mut() => return,
            () = deadline.as_mut() => match pace.check(service.limits()) {
                Ok(again) => deadline.as_mut().reset(again.into()),
                Err(Wait::Head) => return counters.header_timeouts.add(),
                Err(Wait::Idle) => return counters.idle_timeouts.add(),
            },
            () = pace.abused.notified() => return counters.abused.add(),
            _ = closing.wait_for(|closing| *closing), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
