//! Asks a service of this driver whether it works, for the exec probe of a container. The image contains no other program
//! that could ask, and a probe over HTTP would need a port in the network of the host.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tonic::transport::Endpoint;

use super::proto::ProbeRequest;
use super::proto::identity_client::IdentityClient;

/// How long the service may take to answer. kubelet has a limit of its own, but that does not end the process.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a service does not work.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no socket, or no process serves there.
    #[error("cannot connect: {0}: does the service run, and does it have this --endpoint?")]
    Connect(String),
    /// The service answered with an error.
    #[error("the service answers {code:?}: {message}")]
    Failed {
        /// The gRPC code.
        code: tonic::Code,
        /// What is wrong.
        message: String,
    },
    /// The service did not answer.
    #[error("no answer within {} s: the process hangs or is overloaded; its log may say why", TIMEOUT.as_secs())]
    Silent,
    /// The service says that it is not ready.
    #[error("the service is not ready")]
    NotReady,
}

/// Of the reasons that the transport gives, only the last one means something to a person, such as "No such file or
/// directory".
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Succeeds if the service at `socket` answers that it is ready.
pub async fn probe(socket: &Path) -> Result<(), ProbeError> {
    match tokio::time::timeout(TIMEOUT, ask(socket)).await {
        // If the field is not set, the service is ready (CSI specification, ProbeResponse).
        Ok(Ok(Some(true) | None)) => Ok(()),
        Ok(Ok(Some(false))) => Err(ProbeError::NotReady),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ProbeError::Silent),
    }
}

async fn ask(socket: &Path) -> Result<Option<bool>, ProbeError> {
    let connect = async { Endpoint::try_from(format!("unix:{}", socket.display()))?.connect().await };
    let channel = connect.await.map_err(|error| ProbeError::Connect(root_cause(&error)))?;
    let answer = IdentityClient::new(channel)
        .probe(ProbeRequest {})
        .await
        .map_err(|status| ProbeError::Failed { code: status.code(), message: status.message().to_owned() })?;
    Ok(answer.into_inner().ready)
}
