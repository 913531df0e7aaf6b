//! A client of the HTTP interface that Docker and Podman have in common, for engines that a test finds
//! running: under emulation a command of theirs takes seconds, and a request a part of one.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{image, wait};

/// How long an answer, or a container's end, may take: emulated engines take their time.
const PATIENCE: Duration = Duration::from_mins(3);

/// The image of every container, without its tag.
const REPOSITORY: &str = "localhost/limitscope-test";
/// The image as containers name it.
pub const IMAGE: &str = "localhost/limitscope-test:1";

/// An engine that listens at a socket.
#[derive(Debug)]
pub struct EngineApi {
    socket: PathBuf,
}

impl EngineApi {
    /// Gives it the image of the tests.
    pub fn with_image(socket: &Path) -> Result<Self> {
        let api = Self {
            socket: socket.to_owned(),
        };
        let dir = tempfile::tempdir()?;
        let layer = fs::read(image::layer(dir.path())?)?;
        let path = format!("/images/create?fromSrc=-&repo={REPOSITORY}&tag=1");
        api.call("POST", &path, "application/x-tar", &layer)?;
        Ok(api)
    }

    /// Makes and starts a container; returns its id.
    ///
    /// `host_config` is what Docker calls so: limits, and where its cgroup is.
    pub fn run(&self, name: &str, host_config: &Value, command: &[&str]) -> Result<String> {
        let mut host_config = host_config.clone();
        host_config["NetworkMode"] = "none".into();
        let question = json!({ "Image": IMAGE, "Cmd": command, "HostConfig": host_config });
        let path = format!("/containers/create?name={name}");
        let made = self.post(&path, &question)?;
        let id = made["Id"].as_str().context("an id")?.to_owned();
        self.post(&format!("/containers/{id}/start"), &Value::Null)?;
        Ok(id)
    }

    /// What the engine says of a container.
    pub fn inspect(&self, id: &str) -> Result<Value> {
        let answer = self.call("GET", &format!("/containers/{id}/json"), "", &[])?;
        serde_json::from_slice(&answer).context("no JSON")
    }

    /// What the engine says of itself.
    pub fn info(&self) -> Result<Value> {
        let answer = self.call("GET", "/info", "", &[])?;
        serde_json::from_slice(&answer).context("no JSON")
    }

    /// Waits for a container's end; returns what the engine says of it then.
    pub fn wait(&self, id: &str) -> Result<Value> {
        wait::until("the container's end", PATIENCE, || {
            let inspect = self.inspect(id)?;
            let over = inspect["State"]["Status"] == "exited";
            Ok(over.then_some(inspect))
        })
    }

    /// Removes a container, whatever it does.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.call("DELETE", &format!("/containers/{id}?force=true"), "", &[])
            .map(drop)
    }

    fn post(&self, path: &str, question: &Value) -> Result<Value> {
        let body = match question {
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let answer = self.call("POST", path, "application/json", body.as_bytes())?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).context("no JSON")
    }

    /// One request, after which the engine closes the connection.
    fn call(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Vec<u8>> {
        let what = || format!("{method} {path} at {}", self.socket.display());
        let mut stream = UnixStream::connect(&self.socket).with_context(what)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).with_context(what)?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let body = answer.split_off(end.with_context(what)? + 4);
        let head = String::from_utf8_lossy(&answer);
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        ensure!(
            code.is_some_and(|code: u16| (200..300).contains(&code)),
            "{}: {head}{}",
            what(),
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}
