//! Answers `GET /metrics` over plain HTTP. Anybody who can reach the address can read the metrics, and nothing else is answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::csi::call::dispatcher::blocking;
use crate::metrics::{self, Metrics};

/// How long it takes until the driver tries again to get an address that is taken.
const RETRY: Duration = Duration::from_secs(10);
/// How long a connection may last. Each has one request.
const LONGEST: Duration = Duration::from_secs(5);
/// How many connections are served at the same time. Others wait.
const AT_ONCE: usize = 4;
/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 16 << 10;

/// Serves metrics at `address` for as long as the process lives. If the address cannot be had, the log says so once, and the driver tries
/// again: metrics are never a reason not to serve volumes.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) {
    let mut complained = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "serving metrics");
                accept(&listener, &metrics).await;
            }
            Err(error) if !complained => {
                complained = true;
                tracing::error!(
                    %address, %error,
                    "cannot serve metrics at this address, and tries again; is the port taken, or is it no address of this host?"
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Ends if no connection can be accepted any more.
async fn accept(listener: &TcpListener, metrics: &Arc<Metrics>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(metrics);
                tokio::spawn(async move {
                    // A client that is too slow or speaks no HTTP is cut off, which is its own affair.
                    let _ = tokio::time::timeout(LONGEST, answer_one(stream, metrics)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                return;
            }
        }
    }
}

async fn answer_one(stream: TcpStream, metrics: Arc<Metrics>) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let metrics = Arc::clone(&metrics);
        async move { Ok::<_, Infallible>(answer(&request, metrics).await) }
    });
    let mut connection = http1::Builder::new();
    connection.keep_alive(false).max_buf_size(LARGEST_HEAD);
    connection.serve_connection(TokioIo::new(stream), service).await
}

async fn answer<B>(request: &Request<B>, metrics: Arc<Metrics>) -> Response<String> {
    let plain = |status: StatusCode, text: &str| {
        let mut response = Response::new(format!("{text}\n"));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "the metrics can only be read");
    }
    match blocking(move || metrics.text()).await {
        Some(Ok(text)) => {
            let mut response = Response::new(text);
            response
                .headers_mut()
                .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(metrics::CONTENT_TYPE));
            response
        }
        _ => plain(StatusCode::INTERNAL_SERVER_ERROR, "the driver has a bug: its log says more"),
    }
}
