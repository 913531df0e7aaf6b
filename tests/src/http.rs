//! A client of servers that a test finds or starts: HTTP/1.1, one connection a request.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{HOST, HeaderValue},
    http::request,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time,
};

/// Where a server listens.
#[derive(Clone, Debug)]
enum Place {
    Socket(PathBuf),
    Loopback(u16),
}

/// Asks one server.
#[derive(Clone, Debug)]
pub struct Http {
    place: Place,
    patience: Duration,
}

impl Http {
    /// A client of the server at a unix socket, each of whose answers may take `patience`.
    pub fn at_socket(socket: &Path, patience: Duration) -> Self {
        let place = Place::Socket(socket.to_owned());
        Self { place, patience }
    }

    /// The same of one at a port of loopback.
    pub fn at_port(port: u16, patience: Duration) -> Self {
        let place = Place::Loopback(port);
        Self { place, patience }
    }

    /// What a path has, as JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.ask(Request::get(path), Vec::new())?;
        serde_json::from_slice(&answer).context("no JSON")
    }

    /// Sends a request; returns the body of its answer. Any status but a success is an error.
    pub fn ask(&self, request: request::Builder, body: Vec<u8>) -> Result<Bytes> {
        let host = HeaderValue::from_static("localhost");
        let request = request.header(HOST, host).body(Full::from(body))?;
        let what = format!("{} {} at {:?}", request.method(), request.uri(), self.place);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer =
            runtime.block_on(async { time::timeout(self.patience, self.send(request)).await });
        let (status, body) = answer
            .with_context(|| format!("{what}: no answer within {:?}", self.patience))?
            .with_context(|| what.clone())?;
        ensure!(
            status.is_success(),
            "{what}: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
        match &self.place {
            Place::Socket(socket) => over(UnixStream::connect(socket).await?, request).await,
            Place::Loopback(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                over(TcpStream::connect(address).await?, request).await
            }
        }
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the runtime at the latest; what goes wrong in it the answer tells.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}
