//! A client of the HTTP interface that Docker and Podman have in common, for engines that a test finds
//! running: under emulation a command of theirs takes seconds, and a request a part of one.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use hyper::{Request, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::{http::Http, image, wait};

pub use image::IMAGE;

/// How long an answer, or a container's end, may take: emulated engines take their time.
const PATIENCE: Duration = Duration::from_mins(3);

/// An engine that listens at a socket.
#[derive(Debug)]
pub struct EngineApi {
    http: Http,
}

impl EngineApi {
    /// Gives it the image of the tests.
    pub fn with_image(socket: &Path) -> Result<Self> {
        let api = Self {
            http: Http::at_socket(socket, PATIENCE),
        };
        let dir = tempfile::tempdir()?;
        let layer = fs::read(image::layer(dir.path())?)?;
        let (repository, tag) = IMAGE.rsplit_once(':').context("a tag")?;
        let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}");
        let request = Request::post(path).header(CONTENT_TYPE, "application/x-tar");
        api.http.ask(request, layer)?;
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
        self.http.get(&format!("/containers/{id}/json"))
    }

    /// What the engine says of itself.
    pub fn info(&self) -> Result<Value> {
        self.http.get("/info")
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
        let request = Request::delete(format!("/containers/{id}?force=true"));
        self.http.ask(request, Vec::new()).map(drop)
    }

    fn post(&self, path: &str, question: &Value) -> Result<Value> {
        let body = match question {
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        let answer = self.http.ask(request, body.into_bytes())?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).context("no JSON")
    }
}
