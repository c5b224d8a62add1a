//! Asks a service of this driver whether it works, for a container's exec probe. An image with nothing else in it has no
//! other program that could, and a probe by HTTP would need a port on the host's network.

use std::path::Path;
use std::time::Duration;

use tonic::transport::Endpoint;

use super::proto::ProbeRequest;
use super::proto::identity_client::IdentityClient;

/// How long the service may take to answer. kubelet's own limit on a probe does not end its process.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a service does not pass for working.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no socket, or nobody serves at it.
    #[error("cannot connect: {0:?}")]
    Connect(#[from] tonic::transport::Error),
    /// The service answered with an error.
    #[error("the service answers {0}")]
    Failed(#[from] tonic::Status),
    /// It did not answer.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Silent,
    /// It says itself that it is not ready.
    #[error("the service is not ready")]
    NotReady,
}

/// Fails with the reason unless the service at `socket` answers that it is ready.
pub async fn probe(socket: &Path) -> Result<(), ProbeError> {
    match tokio::time::timeout(TIMEOUT, ask(socket)).await {
        // CSI specification, ProbeResponse: not set is ready.
        Ok(Ok(Some(true) | None)) => Ok(()),
        Ok(Ok(Some(false))) => Err(ProbeError::NotReady),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ProbeError::Silent),
    }
}

async fn ask(socket: &Path) -> Result<Option<bool>, ProbeError> {
    let channel = Endpoint::try_from(format!("unix:{}", socket.display()))?.connect().await?;
    Ok(IdentityClient::new(channel).probe(ProbeRequest {}).await?.into_inner().ready)
}
