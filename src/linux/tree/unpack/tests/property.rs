//! For any archive, nothing outside the target directory changes, and nothing panics.

use proptest::prelude::*;

use super::*;

/// Names that lead to each other, to links, and out of the directory.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[abs](/[abs]){0,3}/?",
        1 => "(\\.{0,2}/?[abs]?/?){0,4}",
        1 => Just("../out2/canary".to_owned()),
        1 => Just("../out2".to_owned()),
    ]
}

fn any_member() -> impl Strategy<Value = Vec<u8>> {
    let plain = (
        proptest::sample::select(b"0125356SLKx7g".to_vec()),
        any_name(),
        any_name(),
        0..700u64,
        any::<bool>(),
    );
    let plain = plain.prop_map(|(kind, name, link, size, honest)| {
        let content = if honest { padded(&vec![b'x'; usize::try_from(size).unwrap()]) } else { Vec::new() };
        let size = if matches!(kind, b'0' | b'7' | b'S' | b'L' | b'K' | b'x') { size } else { 0 };
        let content = if size == 0 { Vec::new() } else { content };
        [header(kind, name.as_bytes(), link.as_bytes(), size), content].concat()
    });
    let extended = (any_name(), any_name())
        .prop_map(|(path, name)| [pax("path", path.as_bytes()), file(&name, "x")].concat());
    prop_oneof![4 => plain, 1 => extended]
}

proptest! {
    #[test]
    fn any_sequence_of_members_stays_inside(members in proptest::collection::vec(any_member(), 0..12)) {
        let _ = Setup::new().unpack(&archive(&members));
    }

    #[test]
    fn any_damage_stays_inside(
        members in proptest::collection::vec(any_member(), 1..6),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut archive = archive(&members);
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
            // Correct the checksum, so that the change itself is examined.
            let block = at / 512 * 512;
            seal(&mut archive[block..block + 512]);
        }
        let _ = Setup::new().unpack(&archive);
    }

    #[test]
    fn any_bytes_stay_inside(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = Setup::new().unpack(&bytes);
    }
}
