//! Whom a server's certificate makes trust, and who gets the token.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::fake::{Reply, Server};
use super::servers::Bench;
use crate::identity::kubernetes::KubernetesOptions;

/// An authority, with a token beside its certificate.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        std::fs::write(folder.path().join("token"), "secret\n").unwrap();
        Self { folder, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a server of that name needs.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn options(&self) -> KubernetesOptions {
        KubernetesOptions {
            token: Some(self.file("token")),
            ca: Some(self.file("ca.crt")),
            node: Some("node1".to_owned()),
            ..KubernetesOptions::default()
        }
    }
}

fn empty(target: &str) -> Reply {
    if target.contains("watch=true") {
        return Reply::Lines(Vec::new());
    }
    Reply::Json(
        200,
        json!({ "metadata": { "resourceVersion": "5" }, "items": [] }),
    )
}

#[tokio::test]
async fn a_server_of_the_authority_gets_the_token() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.acceptor("127.0.0.1"), empty).await;
    let mut bench = Bench::start(&KubernetesOptions {
        api_server: Some(server.url.clone()),
        ..authority.options()
    });
    bench.connected().await;
    let bearer = Some("Bearer secret".to_owned());
    assert!(server.authorizations().iter().all(|said| *said == bearer));
}

#[tokio::test]
async fn nobody_else_gets_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    // Another authority, and another name.
    for acceptor in [
        stranger.acceptor("127.0.0.1"),
        authority.acceptor("example.com"),
    ] {
        let server = Server::start_tls(acceptor, empty).await;
        let mut bench = Bench::start(&KubernetesOptions {
            api_server: Some(server.url.clone()),
            ..authority.options()
        });
        let reason = bench.unavailable().await;
        assert!(reason.contains("certificate"), "{reason}");
        assert!(server.authorizations().is_empty());
    }
    // Without TLS everybody on the way would read it.
    let server = Server::start(empty).await;
    let mut bench = Bench::start(&KubernetesOptions {
        api_server: Some(server.url.clone()),
        ..authority.options()
    });
    bench.connected().await;
    assert!(server.authorizations().iter().all(Option::is_none));
}

#[tokio::test]
async fn a_kubelet_that_signs_its_own_is_taken_where_that_was_said() {
    let (authority, kubelets_own) = (Authority::new(), Authority::new());
    let server = Server::start_tls(kubelets_own.acceptor("node1"), empty).await;
    let options = KubernetesOptions {
        kubelet: Some(server.url.clone()),
        ..authority.options()
    };
    let mut bench = Bench::start(&options);
    let reason = bench.unavailable().await;
    assert!(
        reason.starts_with("kubelet at https://127.0.0.1"),
        "{reason}"
    );
    let mut bench = Bench::start(&KubernetesOptions {
        kubelet_insecure_tls: true,
        ..options
    });
    bench.connected().await;
    // A token that is gone is said to be.
    std::fs::remove_file(authority.file("token")).unwrap();
    let reason = bench.unavailable().await;
    assert!(reason.contains("token"), "{reason}");
}
