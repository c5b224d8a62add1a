//! The processes that take part, and how a call reaches one of them.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::RwLock;
use tonic::{Code, Response, Status};

use crate::fixture::Place;
use crate::overlap::members::Member;
use crate::overlap::network::SERVER;
use crate::support::{self, Client};

/// How the share is named in a call. Both ways lead to the same directory on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// By the name of a configured export that keeps deleted volumes for a day.
    Named,
    /// By server and share. Deleted volumes are removed at once.
    Inline,
}

impl Reached {
    /// The parameters of a StorageClass.
    pub(super) fn parameters(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Named => vec![("export", "shared")],
            Self::Inline => vec![("server", SERVER), ("share", "/share")],
        }
    }

    /// The handle of the volume with this name.
    pub(super) fn handle(self, name: &str) -> String {
        match self {
            Self::Named => format!("shared#{name}"),
            Self::Inline => format!("{SERVER}:/share#{name}"),
        }
    }
}

/// The members: two controllers of one installation, one of another installation, and two node services.
pub(super) struct Cast {
    pub(super) members: Vec<RwLock<Member>>,
    pub(super) place_targets: std::path::PathBuf,
    turn: AtomicU64,
}

pub(super) const CONTROLLERS: usize = 3;
pub(super) const NODES: usize = 2;

/// The longest wait for one answer. Then the caller turns to another member.
const PATIENCE: Duration = Duration::from_secs(6);
/// The longest time until a call has a final answer from some member.
const AT_LAST: Duration = Duration::from_mins(3);

impl Cast {
    pub(super) async fn start(place: &Place) -> Self {
        let configuration = place.dir.join("model.yaml");
        let text = format!(
            "exports: [{{name: shared, server: {SERVER}, share: /share, trashRetention: 24h}}]\n\
             defaultExport: shared\nephemeralVolumes: true\n"
        );
        fs::write(&configuration, text).unwrap();
        let configured = ["--config", configuration.to_str().unwrap(), "--abandoned-after", "3"];
        let mut members = Vec::new();
        for number in [1, 2] {
            members.push(Member::controller(place, number, &configured).await);
        }
        members.push(Member::controller(place, 3, &["--abandoned-after", "3"]).await);
        for number in [4, 5] {
            members.push(Member::node(place, number, &configured).await);
        }
        let members = members.into_iter().map(RwLock::new).collect();
        Self { members, place_targets: place.kubelet().join("pods"), turn: AtomicU64::new(0) }
    }

    async fn client(&self, member: usize) -> Client {
        self.members[member].read().await.client()
    }

    /// Asks controllers in turn until one gives a final answer: the call was successful, or it is refused for a reason that
    /// does not go away. `call` gets a client for each try. The second value tells whether an earlier try got no answer,
    /// so that its process may still go on with it.
    pub(super) async fn ask_controller<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        reached: Reached,
        call: impl Fn(Client) -> F,
    ) -> (Result<T, Status>, bool) {
        let knows = match reached {
            Reached::Named => CONTROLLERS - 1,
            Reached::Inline => CONTROLLERS,
        };
        let turn = || usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed)).unwrap() % knows;
        self.ask(turn, call).await
    }

    /// Asks one node service until it gives a final answer.
    pub(super) async fn ask_node<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        node: usize,
        call: impl Fn(Client) -> F,
    ) -> Result<T, Status> {
        self.ask(|| CONTROLLERS + node, call).await.0
    }

    async fn ask<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        member: impl Fn() -> usize,
        call: impl Fn(Client) -> F,
    ) -> (Result<T, Status>, bool) {
        let deadline = std::time::Instant::now() + AT_LAST;
        let mut unanswered = false;
        loop {
            let client = self.client(member()).await;
            let answer = tokio::time::timeout(PATIENCE, call(client)).await;
            let again = match &answer {
                Err(_) => true,
                Ok(Ok(_)) => false,
                Ok(Err(status)) => is_to_be_repeated(status),
            };
            unanswered |= again;
            match answer {
                Ok(answer) if !again || std::time::Instant::now() > deadline => {
                    return (answer.map(Response::into_inner), unanswered);
                }
                Err(_) if std::time::Instant::now() > deadline => {
                    return (Err(Status::deadline_exceeded("no member has answered")), unanswered);
                }
                _ => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
    }

    /// Creates and deletes a volume at each controller, so that each looks after what other processes have left.
    pub(super) async fn wake(&self, reached: Reached) {
        for member in 0..CONTROLLERS {
            if reached == Reached::Named && member == CONTROLLERS - 1 {
                continue;
            }
            let name = format!("wake-{member}-{reached:?}");
            let request = support::create(&name, &reached.parameters());
            let (answer, _) = self
                .ask(
                    || member,
                    |mut client| {
                        let request = request.clone();
                        async move { client.controller.create_volume(request).await }
                    },
                )
                .await;
            let volume = answer.unwrap().volume.unwrap();
            let (answer, _) = self
                .ask(
                    || member,
                    |mut client| {
                        let request = support::delete(&volume);
                        async move { client.controller.delete_volume(request).await }
                    },
                )
                .await;
            answer.unwrap();
        }
    }
}

/// What a sidecar tries again. INTERNAL is a mistake of the driver, unless the cause is that its server does not answer. For a
/// killed process, tonic answers with an error of the transport, which it calls UNKNOWN or UNAVAILABLE.
fn is_to_be_repeated(status: &Status) -> bool {
    const CUT_OFF: [&str; 4] =
        ["timed out", "No route to host", "Input/output error", "no NFS server answers"];
    let is_cut_off = CUT_OFF.iter().any(|words| status.message().contains(words));
    [Code::Aborted, Code::Unavailable, Code::DeadlineExceeded, Code::Unknown, Code::Cancelled]
        .contains(&status.code())
        || status.code() == Code::Internal && is_cut_off
}
