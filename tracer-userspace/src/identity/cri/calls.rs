//! gRPC to a runtime over its unix socket; every answer bounded in time and size.

use std::path::Path;
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::messages::{
    Container, ContainerEventResponse, ContainerStatus, ContainerStatusRequest,
    ContainerStatusResponse, GetEventsRequest, IdFilter, ListContainersResponse,
    ListPodSandboxResponse, ListRequest, PodSandbox, VersionRequest, VersionResponse,
};
use crate::identity::client::{root, too_slow};

/// Versions of the interface, the best first.
const VERSIONS: [&str; 2] = ["v1", "v1alpha2"];

/// The calls that are made; all of them only read.
#[derive(Clone)]
pub(super) struct Calls {
    grpc: Grpc<Channel>,
    version: &'static str,
    limit: Duration,
    /// The runtime, as it calls itself.
    pub runtime: String,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The runtime has not what was asked for.
    NotFound,
    /// The runtime does not offer the call.
    Unimplemented,
    /// Anything else, for people.
    Failed(String),
}

impl CallError {
    pub fn into_text(self) -> String {
        match self {
            Self::NotFound => "not found".to_owned(),
            Self::Unimplemented => "it does not offer the Container Runtime Interface".to_owned(),
            Self::Failed(text) => text,
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::NotFound => Self::NotFound,
            Code::Unimplemented => Self::Unimplemented,
            code => {
                let said = status.message();
                let said = said[..said.floor_char_boundary(200)].trim();
                // What the transport met is further inside than what gRPC makes of it.
                let cause = std::error::Error::source(&status).map(root);
                Self::Failed(cause.unwrap_or_else(|| match said {
                    "" => code.description().to_owned(),
                    said => said.to_owned(),
                }))
            }
        }
    }
}

impl Calls {
    /// Connects, and finds out which version is spoken.
    pub async fn connect(
        socket: &Path,
        limit: Duration,
        answer_bytes: u64,
    ) -> Result<Self, CallError> {
        let socket = socket.to_owned();
        let connector = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The name is for the protocol alone; containerd refuses an empty one.
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(limit);
        let channel = timeout(limit, endpoint.connect_with_connector(connector))
            .await
            .map_err(|_| CallError::Failed(too_slow(limit)))?
            .map_err(|error| CallError::Failed(root(&error)))?;
        let most = usize::try_from(answer_bytes).unwrap_or(usize::MAX);
        let mut calls = Self {
            grpc: Grpc::new(channel).max_decoding_message_size(most),
            version: "",
            limit,
            runtime: String::new(),
        };
        for version in VERSIONS {
            calls.version = version;
            let question = VersionRequest {
                version: version.to_owned(),
            };
            match calls
                .call::<_, VersionResponse>("Version", question, limit)
                .await
            {
                Err(CallError::Unimplemented) => {}
                Err(other) => return Err(other),
                Ok(answer) => {
                    calls.runtime = answer.runtime_name;
                    return Ok(calls);
                }
            }
        }
        Err(CallError::Unimplemented)
    }

    /// Whether the runtime can be asked for a stream of events: v1alpha2 has none.
    pub fn may_have_events(&self) -> bool {
        self.version == "v1"
    }

    /// All containers, or the one of that id.
    pub async fn containers(&self, id: Option<&str>) -> Result<Vec<Container>, CallError> {
        let (question, limit) = self.list(id);
        let answer: ListContainersResponse = self.call("ListContainers", question, limit).await?;
        Ok(answer.containers)
    }

    /// All pods, or the one of that id.
    pub async fn pods(&self, id: Option<&str>) -> Result<Vec<PodSandbox>, CallError> {
        let (question, limit) = self.list(id);
        let answer: ListPodSandboxResponse = self.call("ListPodSandbox", question, limit).await?;
        Ok(answer.items)
    }

    /// A container's status.
    pub async fn status(&self, id: &str) -> Result<ContainerStatus, CallError> {
        let question = ContainerStatusRequest {
            container_id: id.to_owned(),
        };
        let answer: ContainerStatusResponse =
            self.call("ContainerStatus", question, self.limit).await?;
        answer.status.ok_or(CallError::NotFound)
    }

    /// The stream of events. It may take until the first event before there is an answer.
    pub async fn events(&self) -> Result<Streaming<ContainerEventResponse>, CallError> {
        let mut grpc = self.grpc.clone();
        ready(&mut grpc).await?;
        let path = self.path("GetContainerEvents")?;
        let request = Request::new(GetEventsRequest {});
        let answer = grpc
            .server_streaming(request, path, ProstCodec::default())
            .await?;
        Ok(answer.into_inner())
    }

    fn list(&self, id: Option<&str>) -> (ListRequest, Duration) {
        let filter = id.map(|id| IdFilter { id: id.to_owned() });
        let limit = if id.is_some() {
            self.limit
        } else {
            self.limit * 3
        };
        (ListRequest { filter }, limit)
    }

    async fn call<Q, A>(
        &self,
        method: &'static str,
        question: Q,
        limit: Duration,
    ) -> Result<A, CallError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc.clone();
        let path = self.path(method)?;
        let answer = timeout(limit, async {
            ready(&mut grpc).await?;
            let request = Request::new(question);
            let answer = grpc
                .unary(request, path, ProstCodec::<Q, A>::default())
                .await?;
            Ok(answer.into_inner())
        });
        answer
            .await
            .unwrap_or_else(|_| Err(CallError::Failed(too_slow(limit))))
    }

    fn path(&self, method: &str) -> Result<PathAndQuery, CallError> {
        format!("/runtime.{}.RuntimeService/{method}", self.version)
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| CallError::Failed(error.to_string()))
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), CallError> {
    grpc.ready()
        .await
        .map_err(|error| CallError::Failed(root(&error)))
}
