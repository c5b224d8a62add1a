use super::*;

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within 5 s: {what}");
}

#[test]
fn signs_of_life_are_given_while_something_is_held_and_the_directory_goes_in_the_end() {
    let temporary = tempfile::tempdir().unwrap();
    let top = Dir::open(temporary.path()).unwrap();
    let process = ProcessDir::make(&top, Duration::from_millis(60)).unwrap();
    let draft = process.hold("draft".to_owned());
    draft.make_dir(0o700).unwrap();
    let first = sign_of(process.dir()).unwrap().unwrap();
    wait_until("a sign", || sign_of(process.dir()).unwrap().unwrap() > first);
    assert_eq!(process.left_behind().unwrap(), Vec::<String>::new());
    draft.remove().unwrap();
    drop(draft);
    let folder = temporary.path().join(FOLDER);
    assert_eq!(folder.read_dir().unwrap().count(), 1);
    drop(process);
    wait_until("the directory is removed", || folder.read_dir().unwrap().next().is_none());
}

#[test]
fn a_draft_that_was_taken_away_cannot_be_placed() {
    let temporary = tempfile::tempdir().unwrap();
    let top = Dir::open(temporary.path()).unwrap();
    let process = ProcessDir::make(&top, ABANDONED_AFTER).unwrap();
    let draft = process.hold("draft".to_owned());
    draft.make_dir(0o700).unwrap();
    process.dir().rename("draft", &top, "taken").unwrap();
    assert!(matches!(draft.place(&top, "volume"), Err(Error::Busy(_))));
    assert!(process.is_lost());
    assert!(!temporary.path().join("volume").exists());
}

#[test]
fn what_is_not_held_any_more_is_left_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let process = ProcessDir::make(&Dir::open(temporary.path()).unwrap(), ABANDONED_AFTER).unwrap();
    process.hold("draft".to_owned()).write(b"x").unwrap();
    assert_eq!(process.left_behind().unwrap(), ["draft"]);
}
