//! A server on a unix socket that answers as a test wants: well, badly or not at all.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// What to do with one request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Status and JSON.
    Json(u16, String),
    /// The beginning of a body, and then nothing more.
    Stream(String),
    /// The beginning of a body, and then the end of the connection.
    Cut(String),
    /// These bytes, instead of HTTP, and the end.
    Raw(&'static [u8]),
    /// This body without end.
    Endless(&'static [u8]),
    /// Nothing, while the connection stays open.
    Hang,
}

type Handler = Box<dyn FnMut(&str) -> Reply + Send>;

pub(super) struct FakeDocker {
    socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl FakeDocker {
    /// Serves at `socket`; `handler` gets the target of each request (`/events?…`).
    pub fn serve(socket: &Path, handler: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Box::new(handler)));
        let task = tokio::spawn(async move {
            // They end with the listener.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                connections.spawn(async move {
                    // A client that goes away is no error of the server.
                    let _ = answer(stream, &seen, &handler).await;
                });
            }
        });
        Self {
            socket: socket.to_owned(),
            requests,
            task,
        }
    }

    /// The request lines so far: `GET /events?…`.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests had this in their line.
    pub fn count(&self, part: &str) -> usize {
        let requests = self.requests();
        requests.iter().filter(|line| line.contains(part)).count()
    }
}

impl Drop for FakeDocker {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn answer(
    mut stream: UnixStream,
    seen: &Mutex<Vec<String>>,
    handler: &Mutex<Handler>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap();
    let line = line.trim_end_matches(" HTTP/1.1");
    seen.lock().unwrap().push(line.to_owned());
    let target = line.split_once(' ').unwrap().1;
    let reply = handler.lock().unwrap()(target);
    let head = |status: u16| format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n");
    match reply {
        Reply::Json(status, body) => {
            let length = body.len();
            let head = format!("{}Content-Length: {length}\r\n\r\n", head(status));
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        Reply::Stream(body) => {
            stream
                .write_all(chunk(&head(200), &body).as_bytes())
                .await?;
            wait_for_end(&mut stream).await;
        }
        Reply::Cut(body) => {
            stream
                .write_all(chunk(&head(200), &body).as_bytes())
                .await?;
        }
        Reply::Raw(bytes) => stream.write_all(bytes).await?,
        Reply::Endless(bytes) => {
            stream.write_all((head(200) + "\r\n").as_bytes()).await?;
            loop {
                stream.write_all(bytes).await?;
            }
        }
        Reply::Hang => wait_for_end(&mut stream).await,
    }
    Ok(())
}

/// A chunked answer with its first chunk, which must not be empty: that would be its end.
fn chunk(head: &str, body: &str) -> String {
    let first = match body.len() {
        0 => String::new(),
        length => format!("{length:x}\r\n{body}\r\n"),
    };
    format!("{head}Transfer-Encoding: chunked\r\n\r\n{first}")
}

async fn wait_for_end(stream: &mut UnixStream) {
    let mut rest = [0; 64];
    while let Ok(1..) = stream.read(&mut rest).await {}
}
