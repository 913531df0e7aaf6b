//! HTTP to Docker over its unix socket: one connection a request, every answer bounded.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::identity::client::{Allowance, Metered, root};

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
