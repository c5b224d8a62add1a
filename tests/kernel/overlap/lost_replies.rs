//! The server restarts between a request and its reply. It has done what was asked, and does not remember that. So the client sends the
//! request again, and gets EEXIST or ENOENT for a step that was successful.

use std::fs;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto;
use tonic::{Code, Status};

use super::members::{Member, on_server};
use super::network::SERVER;
use crate::fixture::{Place, say, server, text, until};
use crate::support;

/// Delay of each reply, so that the steps of a call are this far apart.
const DELAY: u32 = 8;
/// In each round the server restarts this much later in the calls, so that the reply of another step is lost.
const LATER: u32 = 12;
const ROUNDS: u32 = 14;
/// Long enough for the server to do the step, and shorter than the client's patience with its connection.
const ON_THE_WAY: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_step_whose_reply_is_lost_in_a_restart_of_the_server_is_done_once() {
    let place = Place::take(&[]).await;
    let mut controllers = Vec::new();
    for (number, options) in [(1, "nfsvers=4.2"), (2, "nfsvers=3,nolock")] {
        let configuration = place.dir.join(format!("version-{number}.yaml"));
        let content = format!(
            "exports: [{{name: shared, server: {SERVER}, share: /share, mountOptions: [{options}]}}]\n"
        );
        fs::write(&configuration, content).unwrap();
        let controller = Member::controller(&place, number, &["--config", text(&configuration)]).await;
        // The export is mounted, and everything is in place that is made once.
        create(&controller, request("first", "first")).await.unwrap();
        delete(&controller, "first").await.unwrap();
        controller.network.slow_down(DELAY);
        controllers.push(controller);
    }
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        for controller in [0, 1] {
            create(
                &controllers[controller],
                request(&name("old", controller, round), &sub_dir("old", controller)),
            )
            .await
            .unwrap_or_else(|status| panic!("round {round}, controller {controller}: {status}"));
        }
        interrupted += restart_during_calls(&controllers, round).await;
        for (number, controller) in controllers.iter().enumerate() {
            let context = format!("round {round}, controller {number}");
            assert!(
                !on_server(&sub_dir("old", number)).exists(),
                "{context}: DeleteVolume left the directory"
            );
            assert!(on_server(&sub_dir("new", number)).is_dir(), "{context}: CreateVolume made no directory");
            // The volume is whole: it can be asked for, made once more, and deleted. The deleted one is gone: its directory is free.
            let (new, old) = (name("new", number, round), sub_dir("old", number));
            controller.get(&handle(&new)).await.unwrap_or_else(|status| panic!("{context}: {status}"));
            let gone = controller.get(&handle(&name("old", number, round))).await.unwrap_err();
            assert_eq!(gone.code(), Code::NotFound, "{context}: {gone}");
            let again = create(controller, request(&new, &sub_dir("new", number))).await;
            again.unwrap_or_else(|status| panic!("{context}: {status}"));
            delete(controller, &new).await.unwrap_or_else(|status| panic!("{context}: {status}"));
            let next = name("next", number, round);
            let made = create(controller, request(&next, &old)).await;
            made.unwrap_or_else(|status| panic!("{context}: {status}"));
            delete(controller, &next).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        }
    }
    say(&format!("{ROUNDS} restarts, {interrupted} calls were interrupted"));
    assert!(interrupted > 2 * ROUNDS, "too few calls were interrupted: {interrupted}");
    assert_eq!(server::entries("/share"), Vec::<String>::new());
    until("nothing unfinished is left", || server::unfinished("/share").is_empty()).await;
}

/// Both controllers delete a volume and create another one. The server restarts after as many steps as the number of the round. Answers
/// how many of the calls had not ended before that.
async fn restart_during_calls(controllers: &[Member], round: u32) -> u32 {
    let restart = async {
        tokio::time::sleep(Duration::from_millis(u64::from(round * LATER))).await;
        let begun = Instant::now();
        for controller in controllers {
            controller.network.lose_replies(true);
        }
        tokio::time::sleep(ON_THE_WAY).await;
        drop(server::Stopped::stop());
        for controller in controllers {
            controller.network.slow_down(DELAY);
        }
        begun
    };
    let [one, two] = controllers else { panic!("two controllers") };
    let (first, second, restarted) =
        tokio::join!(delete_and_create(one, 0, round), delete_and_create(two, 1, round), restart);
    let mut interrupted = 0;
    for (answer, ended) in first.into_iter().chain(second) {
        answer.unwrap_or_else(|status| panic!("round {round}: {status}"));
        interrupted += u32::from(ended > restarted);
    }
    interrupted
}

/// The answers to both calls, and when they came.
async fn delete_and_create(
    controller: &Member,
    number: usize,
    round: u32,
) -> [(Result<(), Status>, Instant); 2] {
    let (old, new) = (name("old", number, round), name("new", number, round));
    let deleted = async { (delete(controller, &old).await, Instant::now()) };
    let created =
        async { (create(controller, request(&new, &sub_dir("new", number))).await, Instant::now()) };
    tokio::join!(deleted, created).into()
}

/// Creates a volume. A call whose file was open while the server restarted may fail with EIO; it is repeated as sidecars do.
async fn create(controller: &Member, request: proto::CreateVolumeRequest) -> Result<(), Status> {
    repeat(async || controller.create(request.clone()).await.map(drop)).await
}

async fn delete(controller: &Member, name: &str) -> Result<(), Status> {
    repeat(async || controller.delete(&handle(name)).await).await
}

async fn repeat(call: impl AsyncFn() -> Result<(), Status>) -> Result<(), Status> {
    loop {
        match call().await {
            Err(status) if status.message().contains("Input/output error") => {}
            answer => return answer,
        }
    }
}

fn request(name: &str, sub_dir: &str) -> proto::CreateVolumeRequest {
    support::create(name, &[("export", "shared"), ("subDir", sub_dir)])
}

fn handle(name: &str) -> String {
    format!("shared#{name}")
}

fn name(kind: &str, controller: usize, round: u32) -> String {
    format!("{kind}-{controller}-{round}")
}

/// One directory for all rounds of a controller, so that what is left of one round is in the way of the next.
fn sub_dir(kind: &str, controller: usize) -> String {
    format!("{kind}-{controller}")
}
