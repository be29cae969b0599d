//! The HTTP listener of `[metrics]`: two pages, read only, for programs.
//!
//! It stands beside the control socket on the system's thread. A few connections at a time, each with
//! small buffers and a time limit: a scraper that hangs holds up another scraper at most. Clients outside
//! the allowed networks are closed without an answer.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use actors::module::BoxFuture;
use actors::networks::Networks;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use slog::{Logger, debug, warn};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at a time; further ones wait in the kernel.
const MAX_CONNECTIONS: usize = 16;
/// Bytes of a request's head: a scraper's has some hundred.
const MAX_HEAD: usize = 8192;
/// For a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(30);
/// The longest a connection may last: a scraper opens another.
const LONGEST: Duration = Duration::from_secs(600);
/// Out of file descriptors and the like: time for some to come free.
const PAUSE: Duration = Duration::from_millis(100);

/// What is shown.
pub trait Shown: Send + Sync + 'static {
    /// Lines about what is not as it should be; none: all is well.
    fn faults(&self) -> BoxFuture<Vec<String>>;
    /// The metrics, in Prometheus's text format.
    fn metrics(&self) -> BoxFuture<String>;
}

/// A socket that listens.
pub struct MetricsSocket {
    socket: StdListener,
    allow: Networks,
}

impl MetricsSocket {
    /// One whose clients are those of `allow`.
    pub fn new(socket: StdListener, allow: Networks) -> Self {
        Self { socket, allow }
    }

    /// A second handle of the socket.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn duplicate(&self) -> io::Result<StdListener> {
        self.socket.try_clone()
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// The socket can't be used on this thread.
    pub async fn serve(self, shown: Arc<dyn Shown>, log: Logger) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.socket)?;
        let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let seat = seats.clone().acquire_owned().await.expect("the semaphore is never closed");
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(log, "can't accept a connection"; "error" => %error);
                    sleep(PAUSE).await;
                    continue;
                }
            };
            if !self.allow.contain(peer.ip()) {
                warn!(log, "client is not allowed, closed"; "peer" => %peer);
                continue;
            }
            let (shown, log) = (shown.clone(), log.clone());
            actix_rt::spawn(async move {
                let _seat = seat;
                let page = service_fn(move |request| answer(shown.clone(), request));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_buf_size(MAX_HEAD)
                    .serve_connection(TokioIo::new(stream), page);
                match timeout(LONGEST, connection).await {
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(error)) => debug!(log, "connection failed"; "peer" => %peer, "error" => %error),
                }
            });
        }
    }
}

async fn answer(shown: Arc<dyn Shown>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, "GET is all there is\n".to_owned());
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    Ok(match request.uri().path() {
        "/healthz" => match shown.faults().await {
            faults if faults.is_empty() => page(StatusCode::OK, "ok\n".to_owned()),
            faults => page(StatusCode::SERVICE_UNAVAILABLE, faults.join("\n") + "\n"),
        },
        "/metrics" => {
            let mut page = page(StatusCode::OK, shown.metrics().await);
            let format = hyper::header::HeaderValue::from_static(prometheus::TEXT_FORMAT);
            page.headers_mut().insert(CONTENT_TYPE, format);
            page
        }
        _ => page(StatusCode::NOT_FOUND, "there are /healthz and /metrics\n".to_owned()),
    })
}

fn page(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::new(Bytes::from(text)));
    *page.status_mut() = status;
    let text = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    page.headers_mut().insert(CONTENT_TYPE, text);
    page.headers_mut().insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    page
}
