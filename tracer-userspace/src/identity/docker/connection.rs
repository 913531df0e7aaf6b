//! HTTP to Docker over its unix socket: one connection a request, every answer bounded.

use std::error;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// How many bytes may still be read.
#[derive(Clone)]
pub(super) struct Allowance {
    left: Arc<AtomicU64>,
    full: u64,
}

impl Allowance {
    pub fn new(bytes: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(bytes)),
            full: bytes,
        }
    }

    /// All of it again: what was read so far was worth it.
    pub fn renew(&self) {
        self.left.store(self.full, Ordering::Relaxed);
    }
}

/// A client of the socket at `path`. Each answer may have `answer_bytes`; where `stream` is given,
/// all answers together may have that.
///
/// Connections end with `alive`: when its sender is dropped.
pub(super) fn client(
    path: &Path,
    timeout: Duration,
    answer_bytes: u64,
    stream: Option<&Allowance>,
    alive: &watch::Receiver<()>,
) -> Result<Docker, Error> {
    let (path, stream, alive) = (path.to_owned(), stream.cloned(), alive.clone());
    let transport = move |request: BollardRequest| {
        let allowance = stream
            .clone()
            .unwrap_or_else(|| Allowance::new(answer_bytes));
        send(path.clone(), allowance, alive.clone(), request)
    };
    Docker::connect_with_custom_transport(
        transport,
        Some("http://docker"),
        timeout.as_secs().max(1),
        API_DEFAULT_VERSION,
    )
}

async fn send(
    path: PathBuf,
    allowance: Allowance,
    mut alive: watch::Receiver<()>,
    mut request: BollardRequest,
) -> Result<Response<Incoming>, Error> {
    let stream = UnixStream::connect(&path).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(Metered { stream, allowance })).await?;
    // Ends with the answer, or when nobody wants it any more.
    tokio::spawn(async move {
        tokio::select! {
            _ = connection => {}
            _ = alive.changed() => {}
        }
    });
    // HTTP/1.1 wants the path alone, and a host.
    let target = request.uri().path_and_query().map(PathAndQuery::as_str);
    *request.uri_mut() = target
        .unwrap_or("/")
        .parse()
        .map_err(hyper::http::Error::from)?;
    let host = HeaderValue::from_static("docker");
    request.headers_mut().insert(HOST, host);
    Ok(sender.send_request(request).await?)
}

/// A stream that fails when more is read than allowed.
struct Metered {
    stream: UnixStream,
    allowance: Allowance,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.allowance.left.load(Ordering::Relaxed);
        if left == 0 {
            let full = self.allowance.full;
            let error = format!("the answer is longer than {full} bytes");
            return Poll::Ready(Err(io::Error::other(error)));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.allowance
            .left
            .store(left.saturating_sub(read), Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What went wrong, in a few words for people.
pub(super) fn describe(error: &Error) -> String {
    if let Error::DockerResponseServerError {
        status_code,
        message,
    } = error
    {
        let end = message.floor_char_boundary(200);
        return format!("status {status_code}: {}", message[..end].trim());
    }
    if matches!(error, Error::RequestTimeoutError) {
        return "no answer in time".to_owned();
    }
    match error {
        // This wrapper shows the source of what it wraps as its own.
        Error::IOError { err } => root(err),
        other => root(other),
    }
}

/// The innermost cause: hyper's errors only say at which stage it was.
fn root(error: &(dyn error::Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        if error.raw_os_error().is_some() {
            return match error.kind() {
                io::ErrorKind::NotFound => "no such file".to_owned(),
                kind => kind.to_string(),
            };
        }
        if let Some(inner) = error.get_ref() {
            return root(inner);
        }
    }
    match error.source() {
        Some(source) => root(source),
        None => error.to_string(),
    }
}
