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
    let process = ProcessDir::make(&top, Duration::from_millis(60), true).unwrap();
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
    let process = ProcessDir::make(&top, ABANDONED_AFTER, true).unwrap();
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
    let process = ProcessDir::make(&Dir::open(temporary.path()).unwrap(), ABANDONED_AFTER, true).unwrap();
    process.hold("draft".to_owned()).write(b"x").unwrap();
    assert_eq!(process.left_behind().unwrap(), ["draft"]);
}

#[test]
fn calls_at_once_use_several_directories_and_one_after_the_other_use_one() {
    let temporary = tempfile::tempdir().unwrap();
    let top = Dir::open(temporary.path()).unwrap();
    let make = |is_first| {
        let top = &top;
        move || ProcessDir::make(top, ABANDONED_AFTER, is_first)
    };
    let dirs = ProcessDirs::default();
    let step = || dirs.for_step(make(false), make(true)).unwrap();
    for _ in 0..5 {
        drop(step());
    }
    assert_eq!(dirs.all().len(), 1);
    let under_way: Vec<_> = (0..12).map(|_| step()).collect();
    let names: HashSet<&str> = under_way.iter().map(|(process, _)| process.name()).collect();
    assert_eq!((names.len(), dirs.all().len()), (3, 3));
    // If another one cannot be made, the first one serves.
    drop(under_way);
    let few = ProcessDirs::default();
    let fails = || Err(Error::Busy("no space".to_owned()));
    let under_way: Vec<_> = (0..3).map(|_| few.for_step(fails, make(true)).unwrap()).collect();
    assert_eq!((under_way.len(), few.all().len()), (3, 1));
    few.all()[0].lose();
    assert!(few.forget_lost() && !few.forget_lost());
}
