//! A listener behind which whoever comes has proven who they are.
//!
//! A proof takes a round trip, and who comes may never give it. So accepting waits for nobody: the proof is made by the
//! first read of the connection, on the connection's own task, within [`PROOF_MAX`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::turns::Turns;
use crate::{Caller, Identity};

const PROOF_MAX: Duration = Duration::from_secs(5);

/// Lets in who can prove who they are; everybody, where there is no identity to ask with.
#[derive(Debug)]
pub struct Guarded<L> {
    listener: L,
    identity: Option<Arc<Identity>>,
    turns: Turns,
}

impl<L> Guarded<L> {
    pub fn new(listener: L, identity: Option<Arc<Identity>>) -> Self {
        Self {
            listener,
            identity,
            turns: Turns::new(),
        }
    }
}

type Proof<S> = Pin<Box<dyn Future<Output = io::Result<TlsStream<S>>> + Send>>;

/// A connection of whoever came.
pub enum Stream<S> {
    Clear(S),
    Proving(Proof<S>, Caller),
    Proven(Box<TlsStream<S>>, Caller),
}

impl<L> Listener for Guarded<L>
where
    L: Listener,
    L::Io: 'static,
{
    type Io = Stream<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = self.listener.accept().await;
        let Some(identity) = &self.identity else {
            return (Stream::Clear(stream), address);
        };
        let proof = self.turns.pace(identity.acceptor().accept(stream));
        let proof = async move {
            let proof = tokio::time::timeout(PROOF_MAX, proof).await;
            proof.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        (Stream::Proving(Box::pin(proof), Caller::default()), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl<S> Stream<S> {
    /// Who holds the other end; nobody that is known, in the clear.
    pub fn caller(&self) -> Caller {
        match self {
            Self::Clear(_) => Caller::default(),
            Self::Proving(_, caller) | Self::Proven(_, caller) => caller.clone(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// What is spoken over, once the proof is there.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Speech>>> {
        if let Self::Proving(proof, caller) = self {
            let proven = ready!(proof.as_mut().poll(context)).inspect_err(|error| {
                tracing::debug!(%error, "a caller without identity is refused");
            })?;
            let caller = caller.clone();
            caller.proved(proven.get_ref().1.peer_certificates());
            *self = Self::Proven(Box::new(proven), caller);
        }
        Poll::Ready(match self {
            Self::Clear(stream) => Ok(Pin::new(stream)),
            Self::Proven(stream, _) => Ok(Pin::new(stream.as_mut())),
            Self::Proving(..) => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

trait Speech: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Speech for S {}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?.poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Proving(..) => true,
            Self::Proven(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Who has proven nothing is told nothing, and waited for no longer.
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Proving(..) => Poll::Ready(Ok(())),
            Self::Proven(stream, _) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
