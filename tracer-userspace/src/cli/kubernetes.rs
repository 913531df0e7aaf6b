//! Options about Kubernetes, and about labels that any engine may have.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, builder::NonEmptyStringValueParser};

use crate::identity::{
    chosen::Chosen,
    kubernetes::{Kubernetes, KubernetesOptions},
};

/// Most labels and annotations that can be chosen: every line has them.
const MOST_CHOSEN: usize = 64;

/// Options of `limitscope run`.
#[derive(Args, Clone, Debug)]
pub struct KubernetesArgs {
    /// URL of Kubernetes' API server [default: the one of the service account, within a pod]
    #[arg(long, value_name = "URL")]
    pub api_server: Option<String>,
    /// URL of the node's kubelet, e.g. https://127.0.0.1:10250; it is not asked without this
    #[arg(long, value_name = "URL")]
    pub kubelet: Option<String>,
    /// Take any certificate of the kubelet: most sign their own
    #[arg(long, requires = "kubelet")]
    pub kubelet_insecure_tls: bool,
    /// Bearer token for both [default: that of the service account]
    #[arg(long, value_name = "FILE")]
    pub kube_token: Option<PathBuf>,
    /// Certificates of the authorities that both are trusted by [default: those of the service
    /// account]
    #[arg(long, value_name = "FILE")]
    pub kube_ca: Option<PathBuf>,
    /// The node's name in Kubernetes [default: NODE_NAME, else the host's name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub node_name: Option<String>,
    /// Tell this label of containers and pods; may be given several times
    #[arg(long = "label", value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub labels: Vec<String>,
    /// Tell this annotation of pods; may be given several times
    #[arg(long = "annotation", value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub annotations: Vec<String>,
}

impl KubernetesArgs {
    /// The labels and annotations that are wanted.
    pub fn chosen(&self) -> Chosen {
        Chosen::new(&self.labels, &self.annotations)
    }

    /// Where Kubernetes is asked. What the user names must be right; what a pod is given may be
    /// incomplete, which costs names and no more.
    pub fn places(&self) -> Result<Kubernetes> {
        ensure!(
            self.labels.len() + self.annotations.len() <= MOST_CHOSEN,
            "--label and --annotation: {MOST_CHOSEN} at most"
        );
        let options = KubernetesOptions {
            api_server: self.api_server.clone(),
            kubelet: self.kubelet.clone(),
            token: self.kube_token.clone(),
            ca: self.kube_ca.clone(),
            node: self.node_name.clone(),
            kubelet_insecure_tls: self.kubelet_insecure_tls,
        };
        let is_named = self.api_server.is_some() || self.kubelet.is_some();
        match options.places() {
            Ok(places) => Ok(places),
            Err(error) if is_named => Err(error.into()),
            Err(error) => {
                tracing::warn!("Kubernetes is not asked for names: {error}");
                Ok(Kubernetes::default())
            }
        }
    }
}
