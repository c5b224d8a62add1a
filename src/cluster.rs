//! What the driver asks the API server of Kubernetes: the labels and annotations of one claim, and only if a template for directories uses
//! them. The csi-provisioner does not pass these to a driver.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Where Kubernetes puts the token of a service account and the certificate of the API server
/// (<https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>).
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a request may take, with everything that belongs to it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read. An object of Kubernetes has at most 1.5 MiB.
const LONGEST_ANSWER: u64 = 2 << 20;

/// The metadata of a PersistentVolumeClaim.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Claim {
    /// `metadata.uid`. A claim that is deleted and made anew has another one.
    #[serde(default)]
    pub uid: String,
    /// `metadata.labels`
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// Why a claim could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The controller has no token, or is not in a cluster.
    #[error(
        "this controller has no access to the API server of Kubernetes ({0}): install deploy/components/claim-metadata, or the Helm chart \
         with `rbac.claimMetadata: true`"
    )]
    NoAccess(String),
    /// The API server refuses the token.
    #[error(
        "the API server does not let this controller read claims (HTTP status {0}): install deploy/components/claim-metadata, or the Helm \
         chart with `rbac.claimMetadata: true`"
    )]
    Refused(u16),
    /// The API server did not answer, or not as it should.
    #[error("the API server of Kubernetes at {server}: {reason}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// What went wrong.
        reason: String,
    },
}

/// Reads claims.
pub trait ReadClaims: Send + Sync {
    /// The metadata of the claim with this name, or `None` if there is no such claim.
    fn read(&self, namespace: &str, name: &str) -> Result<Option<Claim>, ClusterError>;
}

/// The API server.
pub struct ApiServer {
    /// The URL, such as `https://10.96.0.1:443`.
    server: Result<String, String>,
    /// The folder with the files `token` and `ca.crt`. They are read for each request, because Kubernetes replaces them from time to time.
    account: PathBuf,
}

impl ApiServer {
    /// The API server of the cluster that this process runs in. Nothing is asked before a claim is read.
    #[must_use]
    pub fn in_cluster() -> Self {
        let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let server = variable("KUBERNETES_SERVICE_HOST").and_then(|host| {
            let host = if let Ok(IpAddr::V6(address)) = host.parse() { format!("[{address}]") } else { host };
            Ok(format!("https://{host}:{}", variable("KUBERNETES_SERVICE_PORT")?))
        });
        Self { server, account: PathBuf::from(ACCOUNT) }
    }

    /// The API server at a URL, with the `token` and `ca.crt` in a folder.
    #[must_use]
    pub fn new(server: &str, account: &Path) -> Self {
        Self { server: Ok(server.to_owned()), account: account.to_owned() }
    }

    /// Sends a request for a path, and returns the status and the body.
    fn get(&self, server: &str, path: &str) -> Result<(u16, String), ClusterError> {
        let file = |name: &str| {
            let path = self.account.join(name);
            fs::read(&path).map_err(|error| ClusterError::NoAccess(format!("{}: {error}", path.display())))
        };
        let unreachable = |reason: String| ClusterError::Unreachable { server: server.to_owned(), reason };
        let token = String::from_utf8_lossy(&file("token")?).trim().to_owned();
        let roots =
            certificates(&file("ca.crt")?).map_err(|error| unreachable(format!("ca.crt: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
        let agent = ureq::Agent::new_with_config(
            ureq::Agent::config_builder()
                .timeout_global(Some(TIMEOUT))
                .http_status_as_error(false)
                .max_redirects(0)
                .proxy(None)
                .tls_config(tls)
                .build(),
        );
        let mut answer = agent
            .get(format!("{server}{path}"))
            .header("Authorization", format!("Bearer {token}"))
            .header("Accept", "application/json")
            .call()
            .map_err(|error| unreachable(error.to_string()))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
        Ok((status, body.map_err(|error| unreachable(error.to_string()))?))
    }
}

/// The certificates in a PEM file.
fn certificates(pem: &[u8]) -> Result<RootCerts, ureq::Error> {
    ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .collect::<Result<Vec<Certificate<'static>>, _>>()
        .map(RootCerts::from)
}

/// Whether a text can be the name of a claim or of a namespace. Everything else could change the path of the request.
fn is_name(text: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    !text.is_empty() && text.len() <= 253 && !text.starts_with('.') && text.bytes().all(is_allowed)
}

impl ReadClaims for ApiServer {
    /// One request in a connection of its own: claims are read rarely.
    fn read(&self, namespace: &str, name: &str) -> Result<Option<Claim>, ClusterError> {
        #[derive(serde::Deserialize)]
        struct Object {
            metadata: Claim,
        }

        let server = self.server.as_ref().map_err(|reason| ClusterError::NoAccess(reason.clone()))?;
        let unreachable = |reason: String| ClusterError::Unreachable { server: server.clone(), reason };
        if !is_name(namespace) || !is_name(name) {
            return Ok(None);
        }
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}");
        match self.get(server, &path)? {
            (200, body) => match serde_json::from_str::<Object>(&body) {
                Ok(object) => Ok(Some(object.metadata)),
                Err(error) => Err(unreachable(format!("the answer is not a claim: {error}"))),
            },
            (404, _) => Ok(None),
            (status @ (401 | 403), _) => Err(ClusterError::Refused(status)),
            (status, _) => Err(unreachable(format!("it answers with the HTTP status {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A server that answers one request with this text, and the request line with the line of the token.
    fn answer(text: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let seen = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let lines =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let wanted =
                |line: &String| line.starts_with("GET") || line.to_lowercase().starts_with("authorization");
            let seen: Vec<String> = lines.filter(wanted).collect();
            (&stream).write_all(text.as_bytes()).unwrap();
            seen.join("\n")
        });
        (server, seen)
    }

    fn account() -> tempfile::TempDir {
        let account = tempfile::tempdir().unwrap();
        fs::write(account.path().join("token"), "secret\n").unwrap();
        fs::write(account.path().join("ca.crt"), "").unwrap();
        account
    }

    #[test]
    fn a_claim_is_read_with_the_token_of_the_service_account() {
        let (server, seen) = answer(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
             {\"metadata\":{\"uid\":\"u-1\",\"labels\":{\"app\":\"web\"},\"annotations\":{\"nfs.io/p\":\"x\"}},\"x\":1}",
        );
        let claim = ApiServer::new(&server, account().path()).read("ns", "data").unwrap().unwrap();
        assert_eq!(claim.uid, "u-1");
        assert_eq!(claim.labels["app"], "web");
        assert_eq!(claim.annotations["nfs.io/p"], "x");
        let seen = seen.join().unwrap();
        assert!(seen.starts_with("GET /api/v1/namespaces/ns/persistentvolumeclaims/data HTTP/1.1"), "{seen}");
        assert!(seen.ends_with(": Bearer secret"), "{seen}");
    }

    #[test]
    fn every_other_answer_is_told_from_a_claim() {
        let read = |text| ApiServer::new(&answer(text).0, account().path()).read("ns", "data");
        assert_eq!(read("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap(), None);
        for (text, word) in [
            ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "components/claim-metadata"),
            ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", "HTTP status 401"),
            ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "HTTP status 500"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "not a claim"),
            ("HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "127.0.0.1"),
            ("", "127.0.0.1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn without_a_token_the_message_says_what_to_install() {
        let nothing = tempfile::tempdir().unwrap();
        let error = ApiServer::new("https://127.0.0.1:1", nothing.path()).read("ns", "data").unwrap_err();
        assert!(error.to_string().contains("deploy/components/claim-metadata"), "{error}");
    }

    #[test]
    fn a_name_cannot_change_the_path_of_the_request() {
        let nobody = ApiServer::new("http://127.0.0.1:1", account().path());
        for (namespace, name) in
            [("..", "x"), ("ns", "a/b"), ("ns", "a?x"), ("ns", ""), ("N", "x"), ("ns", "a%2f")]
        {
            assert_eq!(nobody.read(namespace, name).unwrap(), None, "{namespace}/{name}");
        }
    }
}
