//! A client of the Container Runtime Interface that makes pods and containers, as kubelet does.
//!
//! The messages have the fields that are used; names and numbers are those of Kubernetes' `cri-api`
//! (`pkg/apis/runtime/v1/api.proto`).

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::{net::UnixStream, runtime::Runtime};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

macro_rules! messages {
    ($($name:ident { $($field:ident: $kind:ty = $attribute:tt);* $(;)? })*) => { $(
        #[derive(Clone, PartialEq, Message)]
        #[allow(missing_docs)]
        pub struct $name { $(#[prost $attribute] pub $field: $kind),* }
    )* };
}

type Texts = HashMap<String, String>;

messages! {
    Empty {}
    PodMetadata {
        name: String = (string, tag = "1");
        uid: String = (string, tag = "2");
        namespace: String = (string, tag = "3");
    }
    NamespaceOption {
        network: i32 = (int32, tag = "1");
        pid: i32 = (int32, tag = "2");
    }
    SandboxSecurity { namespaces: Option<NamespaceOption> = (message, optional, tag = "1") }
    LinuxPod {
        cgroup_parent: String = (string, tag = "1");
        security: Option<SandboxSecurity> = (message, optional, tag = "2");
    }
    PodConfig {
        metadata: Option<PodMetadata> = (message, optional, tag = "1");
        log_directory: String = (string, tag = "3");
        labels: Texts = (map = "string, string", tag = "6");
        linux: Option<LinuxPod> = (message, optional, tag = "8");
    }
    RunPod { config: Option<PodConfig> = (message, optional, tag = "1") }
    PodId { id: String = (string, tag = "1") }
    Pods { items: Vec<PodId> = (message, repeated, tag = "1") }
    ContainerMetadata {
        name: String = (string, tag = "1");
        attempt: u32 = (uint32, tag = "2");
    }
    Image { image: String = (string, tag = "1") }
    Resources {
        cpu_period: i64 = (int64, tag = "1");
        cpu_quota: i64 = (int64, tag = "2");
        memory_limit: i64 = (int64, tag = "4");
        oom_score_adj: i64 = (int64, tag = "5");
    }
    // Where a pod has its namespaces at 1, a container has them at 3.
    ContainerSecurity { namespaces: Option<NamespaceOption> = (message, optional, tag = "3") }
    LinuxContainer {
        resources: Option<Resources> = (message, optional, tag = "1");
        security: Option<ContainerSecurity> = (message, optional, tag = "2");
    }
    ContainerConfig {
        metadata: Option<ContainerMetadata> = (message, optional, tag = "1");
        image: Option<Image> = (message, optional, tag = "2");
        command: Vec<String> = (string, repeated, tag = "3");
        labels: Texts = (map = "string, string", tag = "9");
        annotations: Texts = (map = "string, string", tag = "10");
        log_path: String = (string, tag = "11");
        linux: Option<LinuxContainer> = (message, optional, tag = "15");
    }
    CreateContainer {
        pod: String = (string, tag = "1");
        config: Option<ContainerConfig> = (message, optional, tag = "2");
        pod_config: Option<PodConfig> = (message, optional, tag = "3");
    }
    StopContainer {
        id: String = (string, tag = "1");
        timeout: i64 = (int64, tag = "2");
    }
    ContainerStatus {
        id: String = (string, tag = "1");
        metadata: Option<ContainerMetadata> = (message, optional, tag = "2");
        state: i32 = (int32, tag = "3");
        exit_code: i32 = (int32, tag = "7");
        image: Option<Image> = (message, optional, tag = "8");
        reason: String = (string, tag = "10");
        labels: Texts = (map = "string, string", tag = "12");
    }
    StatusAnswer { status: Option<ContainerStatus> = (message, optional, tag = "1") }
}

/// `CONTAINER_EXITED` of `ContainerState`.
pub const EXITED: i32 = 2;

/// The client.
#[derive(Debug)]
pub struct Cri {
    runtime: Runtime,
    channel: Channel,
    version: &'static str,
}

impl Cri {
    /// Connects to a runtime's socket and finds out which version of the interface it has.
    pub fn connect(socket: &Path) -> Result<Self> {
        let mut cri = Self::to(socket)?;
        let asked: Result<Empty> = cri.call("Version", Empty {});
        let unknown = |error: &anyhow::Error| {
            let status = error.chain().find_map(|it| it.downcast_ref::<Status>());
            status.is_some_and(|status| status.code() == Code::Unimplemented)
        };
        if asked.as_ref().is_err_and(unknown) {
            cri.version = "v1alpha2";
        }
        Ok(cri)
    }

    fn to(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost").timeout(Duration::from_secs(30));
        let channel = runtime.block_on(endpoint.connect_with_connector(connector))?;
        Ok(Self {
            runtime,
            channel,
            version: "v1",
        })
    }

    /// The version of the interface that it has.
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// Makes one call.
    pub fn call<Q, A>(&self, method: &str, question: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = format!("/runtime.{}.RuntimeService/{method}", self.version).parse()?;
        let answer = self.runtime.block_on(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready().await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(Request::new(question), path, codec).await?;
            anyhow::Ok(answer.into_inner())
        });
        answer.with_context(|| method.to_owned())
    }

    /// What the runtime says of a container.
    pub fn status(&self, id: &str) -> Result<ContainerStatus> {
        let answer: StatusAnswer = self.call("ContainerStatus", PodId { id: id.to_owned() })?;
        answer.status.context("a status")
    }
}
