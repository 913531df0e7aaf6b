//! Pods and containers in them, made over the Container Runtime Interface as a kubelet does.

use std::{collections::HashMap, path::Path};

use anyhow::Result;

use crate::{
    cri::{
        ContainerConfig, ContainerMetadata, ContainerSecurity, CreateContainer, Cri, Empty, Image,
        LinuxContainer, LinuxPod, NamespaceOption, PodConfig, PodId, PodMetadata, Pods, Resources,
        RunPod, SandboxSecurity,
    },
    image::IMAGE,
    wait::{self, PATIENCE},
};

/// `k8s.namespace.name` of all pods.
pub const NAMESPACE: &str = "lst-shop";

/// A pod with what it takes to make containers in it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Id of its own container.
    pub id: String,
    /// `k8s.pod.name`.
    pub name: String,
    /// `k8s.pod.uid`.
    pub uid: String,
    /// Its cgroup.
    pub cgroup: String,
    config: PodConfig,
}

/// The uid of the pod with this number.
pub fn uid(number: u32) -> String {
    format!("6f1c0a2e-0000-4000-8000-{number:012x}")
}

impl Pod {
    /// Makes the pod with this number in `cgroup`; its containers write into a folder of `logs`.
    pub fn run(cri: &Cri, name: &str, number: u32, cgroup: String, logs: &Path) -> Result<Self> {
        let uid = uid(number);
        let labels = [
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.namespace", NAMESPACE),
            ("io.kubernetes.pod.uid", &uid),
        ];
        let config = PodConfig {
            metadata: Some(PodMetadata {
                name: name.to_owned(),
                uid: uid.clone(),
                namespace: NAMESPACE.to_owned(),
            }),
            log_directory: logs.join(name).display().to_string(),
            labels: texts(&labels),
            linux: Some(LinuxPod {
                cgroup_parent: cgroup.clone(),
                security: Some(SandboxSecurity {
                    namespaces: Some(namespaces()),
                }),
            }),
        };
        let question = RunPod {
            config: Some(config.clone()),
        };
        let answer: PodId = cri.call("RunPodSandbox", question)?;
        Ok(Self {
            id: answer.id,
            name: name.to_owned(),
            uid,
            cgroup,
            config,
        })
    }

    /// Makes and starts a container; returns its id.
    pub fn container(
        &self,
        cri: &Cri,
        name: &str,
        attempt: u32,
        resources: &Resources,
        command: &[&str],
    ) -> Result<String> {
        let labels = [
            ("io.kubernetes.container.name", name),
            ("io.kubernetes.pod.name", &self.name),
            ("io.kubernetes.pod.namespace", NAMESPACE),
            ("io.kubernetes.pod.uid", &self.uid),
        ];
        let count = attempt.to_string();
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt,
            }),
            image: Some(Image {
                image: IMAGE.to_owned(),
            }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            labels: texts(&labels),
            annotations: texts(&[("io.kubernetes.container.restartCount", &count)]),
            log_path: format!("{name}-{attempt}.log"),
            linux: Some(LinuxContainer {
                resources: Some(Resources {
                    oom_score_adj: 500,
                    ..resources.clone()
                }),
                security: Some(ContainerSecurity {
                    namespaces: Some(namespaces()),
                }),
            }),
        };
        let question = CreateContainer {
            pod: self.id.clone(),
            config: Some(config),
            pod_config: Some(self.config.clone()),
        };
        let made: PodId = cri.call("CreateContainer", question)?;
        let _: Empty = cri.call("StartContainer", made.clone())?;
        Ok(made.id)
    }
}

/// Removes all pods of a runtime.
pub fn remove_all(cri: &Cri) -> Result<()> {
    let all: Pods = cri.call("ListPodSandbox", Empty {})?;
    for PodId { id } in all.items {
        // While a container ends by itself the runtime may lose its shim in the middle of the call, and
        // can be asked again.
        let stop = || -> Result<Empty> { cri.call("StopPodSandbox", PodId { id: id.clone() }) };
        if let Err(error) = stop() {
            wait::until("the end of a pod", PATIENCE, || Ok(stop().ok())).map_err(|_| error)?;
        }
        let _: Empty = cri.call("RemovePodSandbox", PodId { id })?;
    }
    Ok(())
}

/// The machine's network (there is no other), and its own processes.
const fn namespaces() -> NamespaceOption {
    NamespaceOption { network: 2, pid: 1 }
}

fn texts(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
    pairs.iter().map(owned).collect()
}
