//! HTTP, with or without TLS: one connection a request, every answer bounded in time and size.

use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig as TlsConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::identity::client::{root, too_slow};

/// Longest reason that a server gives which is told, in bytes.
const REASON_MAX: usize = 200;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub https: bool,
    pub host: String,
    pub port: u16,
    /// What all paths begin with.
    pub base: String,
    /// Host and port as the URL has them.
    pub authority: String,
}

/// Asks one server.
#[derive(Clone)]
pub(super) struct Caller {
    target: Target,
    tls: Option<Arc<TlsConfig>>,
    token: Option<PathBuf>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The server said no: the status, and its reason.
    Status(u16, String),
    /// Anything else, for people.
    Failed(String),
}

impl CallError {
    pub fn into_text(self) -> String {
        match self {
            Self::Status(code, reason) if reason.is_empty() => format!("status {code}"),
            Self::Status(code, reason) => format!("status {code}: {reason}"),
            Self::Failed(text) => text,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Caller {
    pub const fn new(target: Target, tls: Option<Arc<TlsConfig>>, token: Option<PathBuf>) -> Self {
        Self { target, tls, token }
    }

    /// The URL that everything is below.
    pub fn address(&self) -> String {
        let scheme = if self.target.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.target.authority, self.target.base)
    }

    /// An object. `limit` is for all of it, `most` for its bytes.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        limit: Duration,
        most: u64,
    ) -> Result<T, CallError> {
        let whole = async {
            let mut answer = self.open(path).await?;
            let mut bytes = Vec::new();
            while let Some(part) = answer.part().await? {
                if (bytes.len() + part.len()) as u64 > most {
                    let text = format!("the answer is longer than {most} bytes");
                    return Err(CallError::Failed(text));
                }
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        };
        let bytes = timeout(limit, whole)
            .await
            .unwrap_or_else(|_| Err(CallError::Failed(too_slow(limit))))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| CallError::Failed(format!("the answer makes no sense: {error}")))
    }

    /// Objects, each on a line of its own.
    pub async fn lines(
        &self,
        path: &str,
        limit: Duration,
        longest: usize,
    ) -> Result<Lines, CallError> {
        let answer = timeout(limit, self.open(path))
            .await
            .unwrap_or_else(|_| Err(CallError::Failed(too_slow(limit))))?;
        Ok(Lines {
            answer,
            longest,
            buffer: Vec::new(),
            searched: 0,
        })
    }

    async fn open(&self, path: &str) -> Result<Answer, CallError> {
        let failed = |error: &(dyn std::error::Error + 'static)| CallError::Failed(root(error));
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // What goes wrong on the connection, the answer tells.
        let task = tokio::spawn(async move { drop(connection.await) });
        let connection = Connection(task.abort_handle());
        let response = sender
            .send_request(self.request(path).await?)
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status();
        let mut answer = Answer {
            response,
            _connection: connection,
        };
        if status.is_success() {
            return Ok(answer);
        }
        Err(CallError::Status(status.as_u16(), answer.reason().await))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, CallError> {
        let failed = |error: std::io::Error| CallError::Failed(root(&error));
        let address = (self.target.host.as_str(), self.target.port);
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|error| CallError::Failed(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(name, stream).await.map_err(failed)?;
        Ok(Box::new(stream))
    }

    async fn request(&self, path: &str) -> Result<Request<String>, CallError> {
        let wrong = |error: &dyn fmt::Display| CallError::Failed(error.to_string());
        let mut request = Request::get(format!("{}{path}", self.target.base))
            .header(HOST, &self.target.authority)
            .header(ACCEPT, "application/json")
            .header(
                USER_AGENT,
                concat!("limitscope/", env!("CARGO_PKG_VERSION")),
            )
            .body(String::new())
            .map_err(|error| wrong(&error))?;
        // Nobody on the way gets to read it. The file is another one every hour.
        if let Some(path) = self.token.as_ref().filter(|_| self.tls.is_some()) {
            let token = tokio::fs::read_to_string(path).await.map_err(|error| {
                CallError::Failed(format!("token {}: {}", path.display(), root(&error)))
            })?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| CallError::Failed(format!("{} is no token", path.display())))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// Ends the connection when it is dropped.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Answer {
    response: Response<Incoming>,
    _connection: Connection,
}

impl Answer {
    /// The next part of the body.
    async fn part(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            let body = self.response.body_mut();
            match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(CallError::Failed(root(&error))),
                Some(Ok(frame)) => {
                    if let Ok(part) = frame.into_data() {
                        return Ok(Some(part));
                    }
                }
            }
        }
    }

    /// Why the server said no: the API server's `Status` object has a message, the kubelet says it
    /// in plain text.
    async fn reason(&mut self) -> String {
        #[derive(serde::Deserialize)]
        struct Said {
            message: String,
        }
        let Ok(Some(bytes)) = self.part().await else {
            return String::new();
        };
        let mut text = match serde_json::from_slice::<Said>(&bytes) {
            Ok(said) => said.message,
            Err(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        };
        text.truncate(text.floor_char_boundary(REASON_MAX));
        text
    }
}

/// Lines as they come.
pub(super) struct Lines {
    answer: Answer,
    longest: usize,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have no end of a line.
    searched: usize,
}

impl Lines {
    /// The next one without its end; nothing at the end of all. It can be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        loop {
            if let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n')
            {
                let mut line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.longest {
                let text = format!("an event is longer than {} bytes", self.longest);
                return Err(CallError::Failed(text));
            }
            match self.answer.part().await? {
                Some(part) => self.buffer.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }
}
