//! A connection of any kind, at either end: TCP or a Unix socket, and TLS over one of them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tokio_rustls::TlsStream;

use super::outbox::Tcp;
use crate::identity::Fingerprint;

/// Up to so many bytes in several pieces are joined before they are written: the system takes one piece more readily than
/// several, and a small answer is cheaper joined, a large one is not.
pub(super) const JOINED: usize = 2 << 10;

/// A connection of any kind.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(Tcp),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over another.
    Tls(Box<TlsStream<Stream>>),
}

impl Stream {
    /// The protocol that both ends agreed on under TLS.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }
}

impl Stream {
    /// The certificate that the other end showed under TLS, and proved to hold.
    #[must_use]
    pub fn certificate(&self) -> Option<Fingerprint> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|own| Fingerprint::of(own)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => match join(bufs, &mut [0; JOINED]) {
                Some(joined) => Pin::new(stream).poll_write(cx, joined),
                None => Pin::new(stream).poll_write_vectored(cx, bufs),
            },
            Self::Tls(stream) => match join(bufs, &mut [0; JOINED]) {
                Some(joined) => Pin::new(stream.as_mut()).poll_write(cx, joined),
                None => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            },
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

/// All of it in one piece, if there is not too much.
pub(super) fn join<'j>(bufs: &'j [io::IoSlice<'_>], joined: &'j mut [u8; JOINED]) -> Option<&'j [u8]> {
    if let [one] = bufs {
        return Some(one);
    }
    let mut end = 0;
    for buf in bufs {
        joined.get_mut(end..end + buf.len())?.copy_from_slice(buf);
        end += buf.len();
    }
    joined.get(..end)
}
