//! Files with holes.

use super::*;

#[test]
fn holes_stay_holes_with_every_strategy() {
    const MIB: u64 = 1 << 20;
    for support in [Support::same_export(), Support::without_clone(), Support::across()] {
        let stage = Stage::with(support);
        for (name, length) in
            [("data at the end", 64 * MIB + 4), ("hole at the end", 70 * MIB), ("hole", MIB)]
        {
            let file = fs::File::create(stage.from(name)).unwrap();
            if length > MIB {
                file.write_all_at(b"begin", 3 * MIB).unwrap();
                file.write_all_at(b"end", 64 * MIB + 1).unwrap();
            }
            file.set_len(length).unwrap();
        }
        stage.copy_and_compare();
        for name in ["data at the end", "hole at the end", "hole"] {
            let allocated = |path| fs::metadata(path).unwrap().blocks();
            assert_eq!(allocated(stage.to(name)), allocated(stage.from(name)), "{name}");
        }
    }
}

/// As on an NFS version that cannot find holes.
#[test]
fn zeros_are_left_out_of_a_sparse_file() {
    let temporary = tempfile::tempdir().unwrap();
    let (from, to) = (temporary.path().join("from"), temporary.path().join("to"));
    let data: Vec<u8> = (0..40).flat_map(|block| [u8::from(block % 3 == 0); 4096]).chain([7; 10]).collect();
    fs::write(&from, &data).unwrap();
    let stage = Stage::new();
    let dir = Dir::open(temporary.path()).unwrap();
    let request = CopyRequest {
        from: &dir,
        to: &dir,
        links: &dir,
        support: &stage.support,
        devices: DeviceNodes::Skip,
        progress: &stage.progress,
    };
    file_data::copy_by_zeros(&state::CopyState::new(&request), &from, &to);
    assert_eq!(fs::read(&to).unwrap(), data);
    assert_eq!(fs::metadata(&to).unwrap().blocks(), 8 * (14 + 1));
}
