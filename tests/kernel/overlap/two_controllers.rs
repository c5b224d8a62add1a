//! Two controllers that are asked for the same volumes at the same time, as during a roll-over of their StatefulSet.

use std::fs;
use std::time::{Duration, Instant};

use tonic::Code;

use super::members::{Member, clone_of, handle, new_volume, on_server};
use crate::fixture::random::{Random, seed};
use crate::fixture::{Place, say, server};

async fn two(place: &Place) -> (Member, Member) {
    (Member::controller(place, 1, &[]).await, Member::controller(place, 2, &[]).await)
}

#[tokio::test]
async fn a_volume_that_two_controllers_fill_at_once_is_whole_and_can_be_deleted() {
    const ROUNDS: usize = 40;
    const FILES: usize = 30;
    let place = Place::take(&[]).await;
    let (one, two) = two(&place).await;
    let source = one.create(new_volume("source", &[])).await.unwrap();
    for file in 0..FILES {
        fs::write(on_server("source").join(format!("file-{file}")), format!("{file}")).unwrap();
    }
    for round in 0..ROUNDS {
        let name = format!("v{round}");
        let request = clone_of(&source, &name);
        let (first, second) = tokio::join!(one.create(request.clone()), two.create(request.clone()));
        first.unwrap_or_else(|status| panic!("round {round}, first controller: {status}"));
        second.unwrap_or_else(|status| panic!("round {round}, second controller: {status}"));
        assert_eq!(on_server(&name).read_dir().unwrap().count(), FILES, "round {round}");
        for controller in [&one, &two] {
            controller.get(&handle(&name)).await.unwrap_or_else(|status| panic!("round {round}: {status}"));
            controller
                .create(request.clone())
                .await
                .unwrap_or_else(|status| panic!("round {round}: {status}"));
        }
        let controller = if round % 2 == 0 { &one } else { &two };
        controller.delete(&handle(&name)).await.unwrap();
        assert!(!on_server(&name).exists(), "round {round}: DeleteVolume left the directory");
    }
}

#[tokio::test]
async fn two_controllers_create_and_delete_the_same_volumes_at_once() {
    const ROUNDS: usize = 300;
    let place = Place::take(&[]).await;
    let (one, two) = two(&place).await;
    for round in 0..ROUNDS {
        let name = format!("v{round}");
        let request = new_volume(&name, &[]);
        let (first, second) = tokio::join!(one.create(request.clone()), two.create(request));
        let volume = first.unwrap_or_else(|status| panic!("round {round}, create by the first: {status}"));
        second.unwrap_or_else(|status| panic!("round {round}, create by the second: {status}"));
        assert!(on_server(&name).is_dir(), "round {round}");
        let (first, second) = tokio::join!(one.delete(&volume.volume_id), two.delete(&volume.volume_id));
        first.unwrap_or_else(|status| panic!("round {round}, delete by the first: {status}"));
        second.unwrap_or_else(|status| panic!("round {round}, delete by the second: {status}"));
        assert!(!on_server(&name).exists(), "round {round}: DeleteVolume left the directory");
    }
}

#[tokio::test]
async fn one_directory_is_given_to_one_of_two_volumes() {
    const ROUNDS: usize = 200;
    let place = Place::take(&[]).await;
    let (one, two) = two(&place).await;
    for round in 0..ROUNDS {
        let directory = format!("d{round}");
        // In every second round the second would keep its directory on deletion, which lets it take over existing data.
        let on_delete = if round % 2 == 0 { "delete" } else { "retain" };
        let a = new_volume(&format!("a{round}"), &[("subDir", &directory)]);
        let b = new_volume(&format!("b{round}"), &[("subDir", &directory), ("onDelete", on_delete)]);
        // In every third round one controller gets both calls.
        let other = if round % 3 == 0 { &one } else { &two };
        let (first, second) = tokio::join!(one.create(a), other.create(b));
        let (winner, refusal) = match (first, second) {
            (Ok(winner), Err(refusal)) | (Err(refusal), Ok(winner)) => (winner, refusal),
            (Ok(_), Ok(_)) => panic!("round {round}: both volumes have the directory"),
            (Err(first), Err(second)) => panic!("round {round}: nobody has the directory: {first}; {second}"),
        };
        assert_eq!(refusal.code(), Code::AlreadyExists, "round {round}: {refusal}");
        assert!(on_server(&directory).is_dir(), "round {round}");
        two.delete(&winner.volume_id).await.unwrap();
    }
}

/// Every volume has its own name, as in Kubernetes, and all have the same directory one after the other.
#[tokio::test]
async fn a_controller_that_wakes_up_in_a_delete_does_not_take_the_next_volume() {
    const ROUNDS: u64 = 100;
    let place = Place::take(&[]).await;
    let (one, two) = two(&place).await;
    one.network.slow_down(10);
    let seed = seed();
    let mut random = Random::new(seed);
    let mut stopped_in_call = 0;
    for round in 0..ROUNDS {
        let context = format!("seed {seed}, round {round}");
        let in_claim = |name: &str| new_volume(&format!("{name}-{round}"), &[("subDir", "claim")]);
        let old = one.create(in_claim("old")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        fs::write(on_server("claim/file"), "old").unwrap();

        let late = one.delete(&old.volume_id);
        tokio::pin!(late);
        let moment = Duration::from_micros(random.below(100_000));
        let answered = tokio::time::timeout(moment, &mut late).await.is_ok();
        one.pause(true);
        // The other controller gets the call again, and then the next volume of the same claim.
        two.delete(&old.volume_id).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        let new = two.create(in_claim("new")).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        fs::write(on_server("claim/file"), "new").unwrap();
        one.pause(false);
        if !answered {
            stopped_in_call += 1;
            late.await.unwrap_or_else(|status| panic!("{context}: {status}"));
        }
        // A process that wakes up late may hide the volume for a moment.
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_to_string(on_server("claim/file")).ok().as_deref() != Some("new") {
            assert!(Instant::now() < deadline, "{context}: the next volume is gone");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for controller in [&one, &two] {
            controller.get(&new.volume_id).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        }
        two.delete(&new.volume_id).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        assert!(!on_server("claim").exists(), "{context}");
    }
    say(&format!("{ROUNDS} rounds, {stopped_in_call} of them stopped in the call; seed {seed}"));
    assert!(stopped_in_call > ROUNDS / 10, "too few rounds were stopped in a call: {stopped_in_call}");
}

#[tokio::test]
async fn a_storm_of_creates_and_deletes_leaves_no_directory_without_a_record() {
    const CALLS: u64 = 400;
    const NAMES: u64 = 6;
    let place = Place::take(&[]).await;
    let (one, two) = two(&place).await;
    let seed = seed();
    let storm = |controller, seed| async move {
        let controller: &Member = controller;
        let mut random = Random::new(seed);
        for call in 0..CALLS / 2 {
            let name = format!("v{}", random.below(NAMES));
            let answer = if random.below(2) == 0 {
                controller.create(new_volume(&name, &[])).await.map(drop)
            } else {
                controller.delete(&handle(&name)).await
            };
            answer.unwrap_or_else(|status| panic!("seed {seed}, call {call}, {name}: {status}"));
        }
    };
    tokio::join!(storm(&one, seed), storm(&two, seed + 1));
    for number in 0..NAMES {
        one.delete(&handle(&format!("v{number}"))).await.unwrap();
    }
    assert_eq!(server::entries("/share"), Vec::<String>::new(), "seed {seed}: directories without a record");
    for number in 0..NAMES {
        two.create(new_volume(&format!("v{number}"), &[])).await.unwrap();
    }
}
