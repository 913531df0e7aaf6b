//! Where the API server and the kubelet are, and how they are trusted: from flags, and from what
//! Kubernetes gives to every pod that has a service account.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature};
use tokio_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig as TlsConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::Kubernetes;
use super::http::{Caller, Target};

/// Where Kubernetes puts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What to ask, where the user says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// URL of the API server; the one that a service account is for without it.
    pub api_server: Option<String>,
    /// URL of the kubelet; it is not asked without one.
    pub kubelet: Option<String>,
    /// File with the bearer token; the service account's without it.
    pub token: Option<PathBuf>,
    /// File with the certificates of authorities; the service account's without it.
    pub ca: Option<PathBuf>,
    /// The node's name; `NODE_NAME` without it, else the host's.
    pub node: Option<String>,
    /// Whether any certificate of the kubelet is good enough.
    pub kubelet_insecure_tls: bool,
}

/// Why Kubernetes cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No URL.
    #[error("{option} {url:?} is no http:// or https:// URL of a host")]
    Url {
        /// The option.
        option: &'static str,
        /// What it says.
        url: String,
    },
    /// No authority is known for https.
    #[error("{0} needs --kube-ca: the certificates of the authorities that it is trusted by")]
    NoAuthority(String),
    /// The certificates cannot be read.
    #[error("cannot read certificates from {path}: {source}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// There are none that are of use.
    #[error("{0} has no certificate of an authority")]
    NoCertificate(PathBuf),
    /// TLS refuses the settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What the environment says.
struct Surroundings {
    host: Option<OsString>,
    port: Option<OsString>,
    node: Option<OsString>,
    account: PathBuf,
    host_name: io::Result<String>,
}

impl KubernetesOptions {
    /// Everything that can be asked, by these options and the environment.
    pub fn places(&self) -> Result<Kubernetes, PlaceError> {
        self.places_in(&Surroundings {
            host: std::env::var_os("KUBERNETES_SERVICE_HOST"),
            port: std::env::var_os("KUBERNETES_SERVICE_PORT"),
            node: std::env::var_os("NODE_NAME"),
            account: PathBuf::from(SERVICE_ACCOUNT),
            host_name: std::fs::read_to_string("/proc/sys/kernel/hostname"),
        })
    }

    fn places_in(&self, surroundings: &Surroundings) -> Result<Kubernetes, PlaceError> {
        let account = |file| Some(surroundings.account.join(file)).filter(|path| path.exists());
        let token = self.token.clone().or_else(|| account("token"));
        let ca = self.ca.clone().or_else(|| account("ca.crt"));
        let within = || token.as_ref().and_then(|_| surroundings.service());
        let api_server = self.api_server.clone().or_else(within);
        let caller = |option, url: &str, insecure| {
            let target = target(option, url)?;
            let tls = match (target.https, insecure) {
                (false, _) => None,
                (true, true) => Some(trusting_anybody()?),
                (true, false) => Some(trusting(ca.as_deref(), url)?),
            };
            Ok::<_, PlaceError>(Caller::new(target, tls, token.clone()))
        };
        let in_pod = surroundings.host.is_some();
        Ok(Kubernetes {
            api_server: api_server
                .map(|url| caller("--api-server", &url, false))
                .transpose()?,
            kubelet: (self.kubelet.as_ref())
                .map(|url| caller("--kubelet", url, self.kubelet_insecure_tls))
                .transpose()?,
            node: self.node.clone().or_else(|| surroundings.node(in_pod)),
        })
    }
}

impl Surroundings {
    /// The API server as every pod is told where it is.
    fn service(&self) -> Option<String> {
        let host = self.host.as_ref()?.to_str()?;
        let port = self.port.as_ref()?.to_str()?;
        // An address of IP version 6 has colons.
        Some(if host.contains(':') {
            format!("https://[{host}]:{port}")
        } else {
            format!("https://{host}:{port}")
        })
    }

    /// The node's name. Within a pod the host's name is the pod's.
    fn node(&self, in_pod: bool) -> Option<String> {
        let given = self.node.as_ref().and_then(|node| node.to_str());
        let given = given.filter(|node| !node.is_empty()).map(str::to_owned);
        let host = || self.host_name.as_ref().ok().filter(|_| !in_pod);
        let name = given.or_else(|| host().map(|name| name.trim().to_lowercase()));
        name.filter(|name| !name.is_empty())
    }
}

fn target(option: &'static str, url: &str) -> Result<Target, PlaceError> {
    let wrong = || PlaceError::Url {
        option,
        url: url.to_owned(),
    };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or_else(wrong)?;
    if uri.query().is_some() || uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err(wrong());
    }
    Ok(Target {
        https,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
        base: uri.path().trim_end_matches('/').to_owned(),
        authority: uri
            .authority()
            .map_or_else(String::new, ToString::to_string),
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn trusting(ca: Option<&Path>, url: &str) -> Result<Arc<TlsConfig>, PlaceError> {
    let path = ca.ok_or_else(|| PlaceError::NoAuthority(url.to_owned()))?;
    let unreadable = |source| PlaceError::Certificates {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        // A bundle may have some that are too old to be read.
        let _ = roots.add(certificate.map_err(unreadable)?);
    }
    if roots.is_empty() {
        return Err(PlaceError::NoCertificate(path.to_owned()));
    }
    let config = TlsConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn trusting_anybody() -> Result<Arc<TlsConfig>, PlaceError> {
    let provider = provider();
    let anybody = Anybody(provider.signature_verification_algorithms);
    let config = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anybody))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes every certificate: most kubelets sign their own. That the other side has its key is still
/// checked.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> Surroundings {
        Surroundings {
            host: None,
            port: None,
            node: None,
            account: PathBuf::from("/nonexistent"),
            host_name: Ok("Node1\n".to_owned()),
        }
    }

    #[test]
    fn nothing_is_asked_without_a_word() {
        let found = KubernetesOptions::default().places_in(&nowhere()).unwrap();
        assert!(found.places().is_empty());
        assert_eq!(found.node.as_deref(), Some("node1"));
    }

    #[test]
    fn a_service_account_is_found() {
        let account = tempfile::tempdir().unwrap();
        let surroundings = Surroundings {
            host: Some("fd00::1".into()),
            port: Some("443".into()),
            account: account.path().to_owned(),
            ..nowhere()
        };
        let options = KubernetesOptions::default();
        // A pod without a token is in Kubernetes all the same.
        let found = options.places_in(&surroundings).unwrap();
        assert!(found.places().is_empty());
        std::fs::write(account.path().join("token"), "t").unwrap();
        let error = options.places_in(&surroundings).unwrap_err();
        assert!(error.to_string().contains("--kube-ca"), "{error}");
        std::fs::write(account.path().join("ca.crt"), "no certificate").unwrap();
        let error = options.places_in(&surroundings).unwrap_err();
        assert!(matches!(error, PlaceError::NoCertificate(_)), "{error}");
        // The host's name is the pod's there.
        assert_eq!(surroundings.node(true), None);
        let told = Surroundings {
            node: Some("n2".into()),
            ..nowhere()
        };
        assert_eq!(told.node(true).as_deref(), Some("n2"));
        assert_eq!(
            surroundings.service().as_deref(),
            Some("https://[fd00::1]:443")
        );
    }

    #[test]
    fn urls_are_taken_apart() {
        let of = |url| target("--kubelet", url);
        let plain = of("http://127.0.0.1:10255/").unwrap();
        assert_eq!((plain.https, plain.port, &*plain.base), (false, 10255, ""));
        let tls = of("https://[::1]/proxy/").unwrap();
        assert_eq!(
            (tls.https, tls.port, &*tls.host, &*tls.base),
            (true, 443, "::1", "/proxy")
        );
        for wrong in [
            "127.0.0.1:10255",
            "unix:///x",
            "https://",
            "https://u:p@h",
            "http://h?x",
        ] {
            let error = of(wrong).unwrap_err();
            assert!(error.to_string().contains("--kubelet"), "{error}");
        }
    }
}
