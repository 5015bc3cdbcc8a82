//! One connection: which HTTP it speaks, and its deadlines.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::limits::Limits;
use crate::pace::{Pace, Wait};
use crate::service::Service;

/// How every HTTP/2 connection begins, and no HTTP/1 request does: `PRI` is a method that is reserved for this.
const PREFACE: &[u8; 3] = b"PRI";

/// An HTTP/2 connection holds this much of bodies that nobody has read yet, in bytes.
const WINDOW_BYTES: u32 = 256 << 10;

/// Attends a connection to its end. `closing` turns true once, when the door closes.
pub(crate) async fn attend<A: Send + Sync + 'static>(stream: TcpStream, service: Arc<Service<A>>, mut closing: watch::Receiver<bool>) {
    let _open = service.counters().connection();
    // Answers are small and each is written whole, so there is nothing to wait for; a socket that refuses this is as good.
    let _ = stream.set_nodelay(true);
    let pace = Arc::new(Pace::new(service.limits()));
    let begun = tokio::select! {
        begun = timeout(service.limits().header, Begun::read(stream, pace.clone())) => begun,
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
    http.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(limits.head_bytes).half_close(false);
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

/// A connection whose first bytes were read, to see what it speaks, and are given out again.
struct Begun {
    first: [u8; PREFACE.len()],
    /// Of `first`: how many were read, and how many given out.
    read: usize,
    given: usize,
    stream: TcpStream,
    pace: Arc<Pace>,
}

impl Begun {
    /// Reads as long as it can be either.
    async fn read(mut stream: TcpStream, pace: Arc<Pace>) -> io::Result<Begun> {
        let (mut first, mut read) = ([0; PREFACE.len()], 0);
        while read < first.len() && first[..read] == PREFACE[..read] {
            match stream.read(&mut first[read..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        Ok(Begun { first, read, given: 0, stream, pace })
    }

    fn is_http2(&self) -> bool {
        self.first == *PREFACE
    }
}

/// Marks when bytes arrive. On HTTP/1 that ends the idle phase; on HTTP/2 only a request does, as bytes may be pings.
impl AsyncRead for Begun {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given < self.read {
            let size = buffer.remaining().min(self.read - self.given);
            buffer.put_slice(&self.first[self.given..self.given + size]);
            self.given += size;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if before < buffer.filled().len() && !self.is_http2() {
            self.pace.bytes_arrived();
        }
        Poll::Ready(Ok(()))
    }
}

/// As it is.
impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
