//! A server on loopback that answers as a test wants.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What to do with one request.
pub(super) enum Reply {
    /// Status and JSON.
    Json(u16, Value),
    /// These lines, and then nothing more.
    Lines(Vec<Value>),
    /// These bytes, and the end.
    Raw(&'static [u8]),
    /// Nothing, while the connection stays open.
    Hang,
}

type Handler = Box<dyn FnMut(&str) -> Reply + Send>;

/// What a request had: its path, and its authorization.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// The server.
pub(super) struct Server {
    pub url: String,
    requests: Seen,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(handler: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        Self::start_with(None, handler).await
    }

    /// With TLS.
    pub async fn start_tls(
        acceptor: TlsAcceptor,
        handler: impl FnMut(&str) -> Reply + Send + 'static,
    ) -> Self {
        Self::start_with(Some(acceptor), handler).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        handler: impl FnMut(&str) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let requests = Seen::default();
        let seen = Arc::clone(&requests);
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Box::new(handler)));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                let tls = tls.clone();
                connections.spawn(async move {
                    // A client that goes away, or does not trust the server, is no error of it.
                    let _ = match tls {
                        None => answer(stream, &seen, &handler).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer(stream, &seen, &handler).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self {
            url,
            requests,
            task,
        }
    }

    /// How many requests had this in their path.
    pub fn count(&self, part: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|(path, _)| path.contains(part))
            .count()
    }

    /// The authorization of each request.
    pub fn authorizations(&self) -> Vec<Option<String>> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|(_, said)| said.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<(String, Option<String>)>>,
    handler: &Mutex<Handler>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let said = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization")
            .then(|| value.to_owned())
    });
    seen.lock().unwrap().push((target.clone(), said));
    let reply = handler.lock().unwrap()(&target);
    match reply {
        Reply::Json(status, body) => {
            let body = body.to_string();
            let length = body.len();
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).await?;
        }
        Reply::Lines(lines) => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            for line in lines {
                // In two parts each, as a line may come.
                let line = line.to_string() + "\n";
                let (a, b) = line.split_at(line.len() / 2);
                for part in [a, b] {
                    let chunk = format!("{:x}\r\n{part}\r\n", part.len());
                    stream.write_all(chunk.as_bytes()).await?;
                }
            }
            let mut rest = [0; 64];
            while let Ok(1..) = stream.read(&mut rest).await {}
        }
        Reply::Raw(bytes) => stream.write_all(bytes).await?,
        Reply::Hang => {
            let mut rest = [0; 64];
            while let Ok(1..) = stream.read(&mut rest).await {}
        }
    }
    Ok(())
}
