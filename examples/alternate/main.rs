//! One socket for several controllers: each gRPC call goes to the next one in turn. So a client that knows of one driver talks to
//! several at once, as during a roll-over.
//!
//! `alternate SOCKET BACKEND...`; all of them are paths of Unix sockets. It ends when it is killed.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{UnixListener, UnixStream};

/// The connections to the controllers, and the number of calls so far.
struct Backends {
    connections: Vec<SendRequest<Incoming>>,
    calls: AtomicUsize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let socket = paths.next().context("usage: alternate SOCKET BACKEND...")?;
    let mut connections = Vec::new();
    for path in paths {
        let stream = UnixStream::connect(&path).await.with_context(|| path.display().to_string())?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        connections.push(sender);
    }
    ensure!(!connections.is_empty(), "usage: alternate SOCKET BACKEND...");
    let backends = Arc::new(Backends { connections, calls: AtomicUsize::new(0) });
    let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
    loop {
        let (stream, _) = listener.accept().await?;
        let backends = Arc::clone(&backends);
        let forward = service_fn(move |request| {
            let backends = Arc::clone(&backends);
            async move { Ok::<_, Infallible>(backends.forward(request).await) }
        });
        let connection =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), forward);
        tokio::spawn(connection);
    }
}

impl Backends {
    /// Hands the request to the next controller. The body and the trailers pass through as they are.
    async fn forward(&self, request: Request<Incoming>) -> Response<Incoming> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut backend = self.connections[call % self.connections.len()].clone();
        // A controller that has ended ends the run: there is nothing sensible to answer in its place.
        backend.send_request(request).await.unwrap_or_else(|error| {
            eprintln!("alternate: a controller does not answer: {error}");
            std::process::exit(1)
        })
    }
}
