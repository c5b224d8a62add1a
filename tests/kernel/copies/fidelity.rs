//! Copies of whole trees over NFS. Other programs compare source and copy on the server's own file system, where all
//! attributes are visible.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use nfs_subdir_csi::linux::copy::{CopyError, Support};
use rustix::fs::{SeekFrom, seek};

use crate::copies::stage::{Stage, assert_same};
use crate::copies::tree::{Kinds, SPARSE, assert_same_deep, build, build_deep, sparse_data};
use crate::fixture::{say, server, until};

/// Copies the tree in each way and compares. `used` is the method that each way uses with this version.
async fn copies_are_the_same(version: &str, used: [&str; 3]) {
    let stage = Stage::set("/share", version).await;
    let kinds = Kinds::of(version);
    build(&stage.source(), kinds);
    let all = [Support::same_export(), Support::without_clone(), Support::across()];
    for (support, used) in all.iter().zip(used) {
        let summary = stage.copy(support).unwrap();
        say(&format!("NFS {version}, {used}: {summary:?}"));
        assert_eq!(support.used(), used);
        // rsync would read every byte of the sparse file, so it is compared separately.
        let sparse = format!("--exclude=/{SPARSE}");
        assert_same(&stage.source(), &stage.target(), &["--checksum", &sparse]);
        assert_same(&stage.source(), &stage.target(), &[]);
        same_user_attributes(&stage);
        same_as_du(&stage, summary.bytes);
        for name in [SPARSE, "only a hole", "hole at the end"] {
            same_holes(&stage, name);
        }
        sparse_content(&stage.target().join(SPARSE), kinds.sparse_length);
        assert_eq!((summary.vanished, summary.skipped), (0, 0));
        stage.remove_copy();
    }
}

fn same_user_attributes(stage: &Stage) {
    let dump = |top: &Path| {
        let mut getfattr = Command::new("getfattr");
        let text = server::run(getfattr.args(["-R", "-h", "-d", "-e", "hex", "."]).current_dir(top));
        // There is one paragraph for each entry, in the order of the directory.
        let mut entries: Vec<String> = text.split("\n\n").map(str::to_owned).collect();
        entries.sort();
        entries
    };
    assert_eq!(dump(&stage.source()), dump(&stage.target()));
}

/// The bytes of the summary are those that du(1) counts.
fn same_as_du(stage: &Stage, bytes: u64) {
    let du = server::run(Command::new("du").args(["-s", "--block-size=1"]).arg(stage.source()));
    assert_eq!(du.split('\t').next().unwrap(), bytes.to_string());
}

/// Holes stay holes. XFS may have allocated more for the source than was written, so the copy may have fewer blocks.
fn same_holes(stage: &Stage, name: &str) {
    let blocks = |top: &Path| fs::metadata(top.join(name)).unwrap().blocks();
    let (source, copy) = (blocks(&stage.source()), blocks(&stage.target()));
    assert!(copy <= source, "{name}: {copy} blocks of {source}");
}

fn sparse_content(path: &Path, length: u64) {
    let file = File::open(path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), length);
    let mut end = 0;
    for (at, bytes) in sparse_data(length) {
        // Data begins with the block of its first byte.
        assert_eq!(seek(&file, SeekFrom::Data(end)).unwrap() / 4096, at / 4096);
        let mut content = vec![0; bytes];
        file.read_exact_at(&mut content, at).unwrap();
        assert!(content.iter().all(|byte| *byte == b's'));
        end = seek(&file, SeekFrom::Hole(at)).unwrap();
        assert!(end >= at + bytes as u64);
    }
    assert_eq!(end, length);
}

#[tokio::test]
async fn copies_over_nfs_4_2_are_identical() {
    copies_are_the_same("4.2", ["clone", "copy", "read and write"]).await;
}

#[tokio::test]
async fn copies_over_nfs_4_1_are_identical() {
    copies_are_the_same("4.1", ["read and write"; 3]).await;
}

#[tokio::test]
async fn copies_over_nfs_3_are_identical() {
    copies_are_the_same("3", ["read and write"; 3]).await;
}

#[tokio::test]
async fn a_tree_deeper_than_path_max_is_copied() {
    for version in ["4.2", "3"] {
        let stage = Stage::set("/share", version).await;
        build_deep(&stage.source());
        stage.copy(&Support::same_export()).unwrap();
        assert_same_deep(&stage.source(), &stage.target());
    }
}

#[tokio::test]
async fn what_another_client_has_just_written_is_in_the_copy() {
    for version in ["4.2", "3"] {
        let stage = Stage::set("/share", version).await;
        change_after_listing(&stage);
        stage.copy(&Support::same_export()).unwrap();
        assert_same(&stage.source(), &stage.target(), &["--checksum"]);
    }
}

/// With `nocto`, a client that has listed a directory returns the same list for half a minute.
#[tokio::test]
async fn a_directory_list_that_the_client_has_cached_is_not_trusted() {
    for version in ["4.2", "3"] {
        let stage = Stage::set_with("/share", version, "nocto").await;
        let listed = change_after_listing(&stage);
        assert_eq!(list(&stage), listed, "the client has cached nothing, so this test proves nothing");
        stage.copy(&Support::same_export()).unwrap();
        for name in ["new", "dir/new"] {
            assert_eq!(fs::read_to_string(stage.target().join(name)).unwrap(), "new");
        }
    }
}

fn list(stage: &Stage) -> String {
    server::run(Command::new("ls").arg("-R").arg(stage.mounted_source()))
}

/// Changes the source on the server after the client has listed it. Returns the list before the change.
fn change_after_listing(stage: &Stage) -> String {
    let source = stage.source();
    fs::create_dir_all(source.join("dir")).unwrap();
    fs::write(source.join("dir/changed"), "old").unwrap();
    // The client trusts its cache only after it has asked a few times.
    let listed = (0..3).map(|_| list(stage)).last().unwrap();
    fs::write(source.join("new"), "new").unwrap();
    fs::write(source.join("dir/new"), "new").unwrap();
    fs::write(source.join("dir/changed"), "newer").unwrap();
    listed
}

/// Gives the copy's directory a default list and a group, which everything in it inherits unless the driver prevents it.
fn make_heritable(stage: &Stage) {
    server::run(Command::new("setfacl").args(["-m", "u:55:rwx,d:u:55:rwx"]).arg(stage.target()));
    server::run(Command::new("chgrp").arg("55").arg(stage.target()));
    server::run(Command::new("chmod").arg("g+s").arg(stage.target()));
}

#[tokio::test]
async fn a_copy_inherits_nothing_from_where_it_is_made() {
    let stage = Stage::set("/share", "3").await;
    build(&stage.source(), Kinds { sparse_length: 32 << 20, ..Kinds::of("3") });
    make_heritable(&stage);
    stage.copy(&Support::same_export()).unwrap();
    assert_same(&stage.source(), &stage.target(), &["--checksum"]);
}

/// Over NFS 4 a Linux server cannot remove the default list of a directory. (In 6.1, nfsd4_set_nfs4_acl sets a list that is
/// given, and keeps the old one if none is given.)
#[tokio::test]
async fn a_copy_that_would_inherit_a_default_list_is_refused() {
    for version in ["4.2", "4.1"] {
        let stage = Stage::set("/share", version).await;
        make_heritable(&stage);
        fs::write(stage.source().join("file"), "").unwrap();
        let Err(CopyError::Failed(errors)) = stage.copy(&Support::same_export()) else {
            panic!("the default list could be removed")
        };
        assert!(errors[0].to_string().contains("remove its default access control list"), "{errors:?}");
        // A default list that the source has, too, is no problem.
        stage.remove_copy();
        server::run(Command::new("setfacl").args(["-m", "u:55:rwx,d:u:55:rwx"]).arg(stage.source()));
        stage.copy(&Support::same_export()).unwrap();
        assert_same(&stage.source(), &stage.target(), &["--checksum"]);
    }
}

#[tokio::test]
async fn a_full_file_system_ends_the_copy_with_an_error() {
    for version in ["4.2", "3"] {
        let stage = Stage::set("/small", version).await;
        let noise: Vec<u8> =
            (0..1_000_000u64).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
        for number in 0..5 {
            fs::write(stage.source().join(number.to_string()), &noise).unwrap();
        }
        for support in [Support::same_export(), Support::across()] {
            let Err(CopyError::Failed(errors)) = stage.copy(&support) else {
                panic!("80 MB fitted into 64 MB")
            };
            let full = |error: &nfs_subdir_csi::linux::SysError| {
                matches!(
                    error.source.kind(),
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                )
            };
            assert!(errors.iter().any(full), "{errors:?}");
            stage.remove_copy();
            // The client renames a removed file that is still being written to (.nfs*) and removes it later.
            until("the copy is removed", || fs::read_dir(stage.target()).unwrap().count() == 0).await;
        }
    }
}

#[tokio::test]
async fn with_root_squash_only_files_of_the_anonymous_user_are_copied() {
    let stage = Stage::set("/squashed", "4.2").await;
    for dir in [stage.source(), stage.target(), stage.exported.join("links")] {
        server::run(Command::new("chown").arg("65534:65534").arg(&dir));
    }
    fs::write(stage.source().join("own"), "x").unwrap();
    server::run(Command::new("chown").arg("65534:65534").arg(stage.source().join("own")));
    stage.copy(&Support::same_export()).unwrap();
    assert_same(&stage.source(), &stage.target(), &["--checksum"]);
    fs::write(stage.source().join("foreign"), "x").unwrap();
    let Err(CopyError::Failed(errors)) = stage.copy(&Support::same_export()) else {
        panic!("a squashed root could change an owner")
    };
    assert!(errors[0].is_denied() && errors[0].path.ends_with("source/foreign"), "{errors:?}");
}
