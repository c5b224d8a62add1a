use super::removal::Removal;
use super::*;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::deleted::Terms;
use crate::volume::share::directory::{Found, find_now};
use crate::volume::share::left::Round;
use crate::volume::share::reaper::remove_entry;
use crate::volume::share::state_dir::TestShare;

fn share() -> TestShare {
    TestShare::new()
}

fn record(name: &str, sub_dir: &str) -> Record {
    Record::new(name.to_owned(), SubDir::parse(sub_dir).unwrap())
}

fn key(name: &str) -> VolumeKey {
    VolumeKey::of_name(name)
}

impl TestShare {
    fn add(&self, name: &str, sub_dir: &str) -> Added {
        let added = self.state.add(&key(name), &record(name, sub_dir)).unwrap();
        if let Added::Made(held) = &added {
            assert!(held.is_current().unwrap());
            self.state.keep(held).unwrap();
        }
        added
    }

    fn made(&self, name: &str, sub_dir: &str) {
        assert!(matches!(self.add(name, sub_dir), Added::Made(_)), "{name}");
    }

    fn refused(&self, name: &str, sub_dir: &str, other: &str) {
        match self.add(name, sub_dir) {
            Added::Overlaps(owner) => assert!(owner.contains(&format!("{other:?}")), "{name}: {owner}"),
            added => panic!("{name}: {added:?}"),
        }
        assert!(self.state.hold(&key(name)).unwrap().is_none(), "{name} left a record");
    }

    fn hold(&self, name: &str) -> HeldRecord {
        self.state.hold(&key(name)).unwrap().unwrap()
    }

    fn delete(&self, name: &str) {
        self.state.release(&self.hold(name)).unwrap();
    }
}

#[test]
fn one_directory_has_one_volume_and_none_inside_or_around_it() {
    let share = share();
    share.made("a", "ns/claim");
    assert!(matches!(share.add("a", "elsewhere"), Added::Exists));
    share.refused("b", "ns/claim", "a");
    share.refused("c", "ns", "a");
    share.refused("d", "ns/claim/deep/er", "a");
    share.made("e", "ns/claims");
    share.made("f", "nsx");
    assert!(share.state.owner_of(&SubDir::parse("ns").unwrap()).unwrap().is_some());
    share.delete("a");
    share.delete("e");
    assert!(share.state.owner_of(&SubDir::parse("ns").unwrap()).unwrap().is_none());
    share.made("c", "ns");
    share.refused("b", "ns/claim", "c");
    assert_eq!(share.state.process().unwrap().left_behind().unwrap(), Vec::<String>::new());
}

#[test]
fn a_process_that_wakes_up_late_neither_changes_nor_deletes_the_next_volume() {
    let share = share();
    share.made("v", "claim");
    let late = share.hold("v");
    share.delete("v");
    share.made("v", "claim");
    assert!(!late.is_current().unwrap());
    assert!(matches!(share.state.change(&late, &record("v", "claim")), Err(Error::Busy(_))));
    assert!(matches!(share.state.release(&late), Err(Error::Busy(_))));
    assert!(matches!(share.state.release_record(&late), Err(Error::Busy(_))));
    let new = share.hold("v");
    assert!(new.is_current().unwrap(), "it has all its names");
    share.refused("w", "claim", "v");
    // The same path, and another volume.
    share.delete("v");
    share.made("w", "claim");
    assert!(share.state.release(&late).is_err());
    share.refused("x", "claim", "w");
    assert!(share.state.with_path(&late, || Ok(())).unwrap().is_none());
}

#[test]
fn a_claim_without_a_record_is_removed_and_a_record_without_a_claim_gets_one() {
    let share = share();
    share.made("v", "ns/claim");
    std::fs::remove_file(share.dir.proc_path().join(".nfs-subdir-csi/volumes/v.json")).unwrap();
    share.made("w", "ns/claim");
    let claims = share.dir.proc_path().join(".nfs-subdir-csi/claims");
    for entry in claims.read_dir().unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let held = share.hold("w");
    assert!(!held.is_current().unwrap());
    assert_eq!(share.state.claim(&held).unwrap(), None);
    assert!(held.is_current().unwrap());
    share.refused("x", "ns/claim", "w");
}

#[test]
fn records_of_version_0_1_0_get_claims_and_of_two_with_one_directory_the_first() {
    let share = share();
    for (name, sub_dir) in [("a", "one"), ("b", "one"), ("c", "ns/deep")] {
        let json = record(name, sub_dir).to_json();
        share.state.volumes.create_file(format!("{name}.json"), &json).unwrap();
    }
    for _ in 0..2 {
        share.state.complete_claims().unwrap();
    }
    share.refused("x", "one", "a");
    share.refused("x", "ns", "c");
    assert!(share.state.claim(&share.hold("b")).unwrap().unwrap().contains("\"a\""));
    share.state.release_record(&share.hold("b")).unwrap();
    share.refused("x", "one", "a");
}

#[test]
fn a_change_keeps_the_file_and_with_it_the_names() {
    let share = share();
    share.made("v", "claim");
    for capacity_bytes in [1 << 40, 0, 7] {
        let changed = Record { capacity_bytes, ..record("v", "claim") };
        share.state.change(&share.hold("v"), &changed).unwrap();
        assert_eq!(share.state.read(&key("v")).unwrap(), Some(changed));
        assert!(share.hold("v").is_current().unwrap());
    }
}

#[test]
fn a_name_that_a_killed_process_had_moved_aside_comes_back_while_the_volume_lives() {
    let share = share();
    share.made("v", "claim");
    let claim = share.state.kept_part(CLAIMS).unwrap();
    for (dir, name) in [(&*claim, claim_file("claim")), (&share.state.volumes, file_of(&key("v")))] {
        let aside = share.state.aside_of_claim(&share.hold("v")).unwrap();
        dir.rename(&name, aside.dir(), aside.name()).unwrap();
        share.state.restore_name(&aside).unwrap();
        aside.remove().unwrap();
        assert!(share.hold("v").is_current().unwrap(), "{name}");
    }
    // Of a deleted volume nothing comes back.
    let aside = share.state.aside_of_claim(&share.hold("v")).unwrap();
    claim.rename(claim_file("claim"), aside.dir(), aside.name()).unwrap();
    share.state.volumes.remove_file(file_of(&key("v"))).unwrap();
    share.state.restore_name(&aside).unwrap();
    assert!(share.state.hold(&key("v")).unwrap().is_none());
}

#[test]
fn a_claim_of_a_killed_process_gets_its_record_from_the_retry() {
    let share = share();
    let (draft, _file) = share.state.write_draft(&key("v"), &record("v", "ns/claim")).unwrap();
    let claims = share.state.kept_part(CLAIMS).unwrap();
    draft.dir().link(draft.name(), &claims, claim_file("ns/claim")).unwrap();
    assert!(matches!(share.add("v", "ns/claim"), Added::Exists));
    assert_eq!(share.state.claim(&share.hold("v")).unwrap(), None);
    share.refused("w", "ns/claim", "v");
    draft.remove().unwrap();
    assert_eq!(share.state.claim(&share.hold("v")).unwrap(), None);
    assert!(share.hold("v").is_current().unwrap());
}

#[test]
fn a_deletion_that_finds_the_directory_made_anew_gives_the_names_back() {
    let share = share();
    share.made("v", "claim");
    let held = share.hold("v");
    assert!(matches!(share.state.release_if(&held, || Ok(false)), Err(Error::Busy(_))));
    assert!(share.state.has_record(&held).unwrap() && share.hold("v").is_current().unwrap());
    assert_eq!(share.state.process().unwrap().left_behind().unwrap(), Vec::<String>::new());
    // While the names are aside, whoever makes the directory does not find the record.
    share.state.release_if(&held, || share.state.has_record(&held).map(|has| !has)).unwrap();
    assert!(share.state.hold(&key("v")).unwrap().is_none());
}

impl TestShare {
    /// Deletes the volume up to where the caller has its answer.
    fn take_away(&self, held: HeldRecord) -> Removal {
        let found = find_now(&self.dir, &held.record.sub_dir).unwrap();
        self.take_away_found(held, found)
    }

    fn take_away_found(&self, held: HeldRecord, found: Option<Found>) -> Removal {
        let moved = found.map(|found| {
            let place = self.state.place_in_deleted(&held, &found, ExportPolicy::default()).unwrap();
            (found, place)
        });
        self.state.take_away(held, moved).unwrap()
    }

    fn dir_of(&self, path: &str) -> std::path::PathBuf {
        self.dir.proc_path().join(path)
    }

    /// A volume with a directory and a file in it.
    fn with_file(&self, name: &str) {
        self.made(name, "claim");
        std::fs::create_dir(self.dir_of("claim")).unwrap();
        std::fs::write(self.dir_of("claim/file"), name).unwrap();
    }
}

#[test]
fn a_deletion_that_comes_late_gives_everything_back_although_the_one_before_is_not_complete() {
    for (next, both_names) in [("v", true), ("w", false)] {
        let share = share();
        share.with_file("v");
        let (first, late) = (share.hold("v"), share.hold("v"));
        assert!(share.state.has_claim(&late).unwrap());
        // The late one has looked up the directory of its own volume and stops here.
        let found = find_now(&share.dir, &late.record.sub_dir).unwrap();
        let first = share.take_away(first);
        share.with_file(next);
        assert!(!share.state.has_claim(&late).unwrap(), "who looks now sees it");
        let late = share.take_away_found(late, found);
        assert!(!share.dir_of("claim").exists(), "for a moment");
        assert!(matches!(share.state.complete(&late), Err(Error::Busy(_))));
        assert_eq!(std::fs::read_to_string(share.dir_of("claim/file")).unwrap(), next);
        assert!(share.hold(next).is_current().unwrap(), "both names: {both_names}");
        // The first one sees a directory at the path, and that it is another volume's.
        share.state.complete(&first).unwrap();
        assert_eq!(std::fs::read_to_string(share.dir_of("claim/file")).unwrap(), next);
        assert!(share.hold(next).is_current().unwrap());
        assert_eq!(share.state.process().unwrap().left_behind().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn what_a_late_deletion_has_moved_before_it_was_killed_comes_back() {
    let share = share();
    share.with_file("v");
    let late = share.hold("v");
    share.delete("v");
    std::fs::remove_file(share.dir_of("claim/file")).unwrap();
    std::fs::remove_dir(share.dir_of("claim")).unwrap();
    share.with_file("v");
    let late = share.take_away(late);
    let names: Vec<String> = late.asides.iter().map(|aside| aside.draft.name().to_owned()).collect();
    drop(late);
    assert!(share.state.hold(&key("v")).unwrap().is_none(), "both names are aside");
    for name in names {
        let aside = share.state.process().unwrap().hold(name);
        share.state.restore_name(&aside).unwrap();
        aside.remove().unwrap();
    }
    assert!(share.hold("v").is_current().unwrap());
    assert!(share.state.has_claim(&share.hold("v")).unwrap());
    // The names of a volume that was deleted in time stay away, although the process was killed before it had removed them.
    let done = share.take_away(share.hold("v"));
    let names: Vec<String> = done.asides.iter().map(|aside| aside.draft.name().to_owned()).collect();
    drop(done);
    for name in names {
        let aside = share.state.process().unwrap().hold(name);
        share.state.restore_name(&aside).unwrap();
        aside.remove().unwrap();
    }
    assert!(share.state.hold(&key("v")).unwrap().is_none());
    share.made("w", "claim");
}

#[test]
fn a_directory_that_was_made_again_meanwhile_is_removed_and_one_that_is_made_afterwards_stays() {
    let share = share();
    // Another controller was asked to create the volume, and has made the directory after this one has moved it away.
    let claims = share.state.kept_part(CLAIMS).unwrap();
    for (content, is_claimed_again) in [(None, false), (None, true), (Some("file"), false)] {
        share.made("v", "claim");
        std::fs::create_dir(share.dir_of("claim")).unwrap();
        if let Some(name) = content {
            std::fs::write(share.dir_of("claim").join(name), "x").unwrap();
        }
        let removal = share.take_away_found(share.hold("v"), None);
        if is_claimed_again {
            // That controller had seen the record without its claim.
            let aside = &removal.asides[0].draft;
            aside.dir().link(aside.name(), &claims, claim_file("claim")).unwrap();
        }
        share.state.complete(&removal).unwrap();
        assert!(claims.fresh_entry(claim_file("claim")).unwrap().is_none());
        assert_eq!(
            share.dir_of("claim").exists(),
            content.is_some(),
            "what has content may be somebody else's"
        );
    }
    std::fs::remove_file(share.dir_of("claim/file")).unwrap();
    std::fs::remove_dir(share.dir_of("claim")).unwrap();
    share.made("v", "claim");
    let removal = share.take_away(share.hold("v"));
    // The clock of a file system advances only every few milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(50));
    std::fs::create_dir(share.dir_of("claim")).unwrap();
    share.state.complete(&removal).unwrap();
    assert!(share.dir_of("claim").exists());
}

#[test]
fn what_is_deleted_is_out_of_reach_of_reapers_until_it_is_known_what_was_moved() {
    let share = share();
    share.with_file("v");
    let removal = share.take_away(share.hold("v"));
    let deleted = || share.state.existing_deleted().unwrap().unwrap().entries(9).unwrap().len();
    assert_eq!(deleted(), 0);
    share.state.complete(&removal).unwrap();
    assert_eq!(deleted(), 1);
    // Another process deletes the volume at the same time, and finds nothing any more.
    share.with_file("v");
    let (one, two) = (share.hold("v"), share.hold("v"));
    let (one, two) = (share.take_away(one), share.take_away(two));
    share.state.complete(&two).unwrap();
    share.state.complete(&one).unwrap();
    assert_eq!(deleted(), 2);
}

#[test]
fn what_took_the_place_of_a_filled_directory_is_put_back_when_that_is_discarded() {
    let share = share();
    share.made("v", "claim");
    let late = share.hold("v");
    share.delete("v");
    share.made("w", "claim");
    // The process that has filled a directory for v stops for some time, and meanwhile w gets its directory in that place.
    let filled = share.dir.inode().unwrap();
    let directory = share.temporary.path().join("claim");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("file"), "w").unwrap();
    share.state.discard_directory(&late, &share.dir, filled).unwrap();
    assert!(!directory.exists());
    let deleted = share.state.existing_deleted().unwrap().unwrap();
    let entry = deleted.entries(9).unwrap().pop().unwrap();
    let name = entry.name.to_str().unwrap();
    let mut round = Round::default();
    let terms = Terms::parse(name).unwrap();
    remove_entry(&share.state, &deleted, name, entry.inode, &terms, &mut round).unwrap();
    assert!(round.failures.is_empty(), "{round:?}");
    assert_eq!(std::fs::read(directory.join("file")).unwrap(), b"w");
}
