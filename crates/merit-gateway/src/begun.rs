//! The bytes of a connection: what it speaks, when they arrive, and the answers that hyper gives by itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::pace::Pace;
use crate::service::Service;

/// How every HTTP/2 connection begins, and no HTTP/1 request does: `PRI` is a method that is reserved for this.
const PREFACE: &[u8; 3] = b"PRI";

/// A connection whose first bytes were read, to see what it speaks, and are given out again.
pub(crate) struct Begun<A> {
    first: [u8; PREFACE.len()],
    /// Of `first`: how many were read, and how many given out.
    read: usize,
    given: usize,
    /// What is written instead of hyper's last bytes, and how much of it was.
    last: Option<(Vec<u8>, usize)>,
    stream: TcpStream,
    service: Arc<Service<A>>,
    pace: Arc<Pace>,
}

impl<A: Send + Sync + 'static> Begun<A> {
    /// Reads as long as it can be either.
    pub(crate) async fn read(mut stream: TcpStream, service: Arc<Service<A>>, pace: Arc<Pace>) -> io::Result<Begun<A>> {
        let (mut first, mut read) = ([0; PREFACE.len()], 0);
        while read < first.len() && first[..read] == PREFACE[..read] {
            match stream.read(&mut first[read..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        Ok(Begun { first, read, given: 0, last: None, stream, service, pace })
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.first == *PREFACE
    }
}

/// Marks when bytes arrive. On HTTP/1 that ends the idle phase; on HTTP/2 only a request does, as bytes may be pings.
impl<A: Send + Sync + 'static> AsyncRead for Begun<A> {
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

/// As it is, but for hyper's bare answer to what is no request, which is the last of its connection: it gets the shape of every refusal.
impl<A: Send + Sync + 'static> AsyncWrite for Begun<A> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.last.is_none() && this.first != *PREFACE {
            this.last = bare_refusal(bytes).map(|(at, status)| ([&bytes[..at], &this.service.refuse_bytes(status)].concat(), 0));
        }
        let Some((last, written)) = &mut this.last else { return Pin::new(&mut this.stream).poll_write(context, bytes) };
        while *written < last.len() {
            match ready!(Pin::new(&mut this.stream).poll_write(context, &last[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *written += more,
            }
        }
        this.last = None;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    /// HTTP/1 writes each answer from one buffer, `connection.rs`.
    fn is_write_vectored(&self) -> bool {
        self.is_http2()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Where a head without a body begins that says 4xx and has no `x-request-id`, as each of ours has; it ends the bytes.
fn bare_refusal(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let at = bytes.windows(10).rposition(|window| window.starts_with(b"HTTP/1.") && window.ends_with(b" 4"))?;
    let head = str::from_utf8(&bytes[at..]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    (!head.contains("x-request-id")).then_some((at, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_refusal_at_the_end_is_taken_for_one() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let ours = "HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\ncontent-length: 2\r\n\r\n";
        let (at_once, before) = (bare.to_owned(), format!("{ours}{{}}{bare}"));
        for (why, bytes, found) in [
            ("alone", at_once.as_str(), Some((0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))),
            ("behind another answer", &before, Some((ours.len() + 2, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))),
            ("ours to HEAD", ours, None),
            ("ours with its body", "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", None),
            ("an interim answer", "HTTP/1.1 100 Continue\r\n\r\n", None),
            ("no body", "HTTP/1.1 204 No Content\r\nx-request-id: 1\r\n\r\n", None),
        ] {
            assert_eq!(bare_refusal(bytes.as_bytes()), found, "{why}");
        }
    }
}
