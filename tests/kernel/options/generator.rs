//! Lists of mount options: families whose members replace one another, in every order, and random lists.

use crate::fixture::random::Random;

/// Options of which the last one counts, or which add up.
const FAMILIES: &[&[&str]] = &[
    &["hard", "soft", "softerr"],
    &["softerr", "softreval", "timeo=50"],
    &["softreval", "hard", "soft"],
    &["ac", "noac", "acregmin=7"],
    &["actimeo=5", "acregmin=7", "acdirmax=90"],
    &["actimeo=0", "actimeo=9", "acregmax=61"],
    &["lock", "nolock", "local_lock=flock"],
    &["local_lock=flock", "local_lock=posix", "local_lock=none"],
    &["nolock", "local_lock=none", "local_lock=all"],
    &["cto", "nocto"],
    &["lookupcache=none", "lookupcache=positive", "lookupcache=all"],
    &["tcp", "proto=tcp"],
    &["sync", "async", "dirsync"],
    &["rdirplus", "nordirplus"],
    &["sharecache", "nosharecache"],
    &["timeo=50", "timeo=0x40", "retrans=4"],
    &["rsize=65536", "rsize=4096", "wsize=32768"],
    &["resvport", "noresvport"],
    &["posix", "noposix"],
    &["acl", "noacl"],
    &["ro", "rw"],
    &["nosuid", "suid", "user"],
    &["user", "exec", "dev"],
    &["owner", "suid", "nodev"],
    &["write=eager", "write=wait", "write=lazy"],
    &["fsc", "nofsc"],
    &["namlen=100", "namlen=200"],
    &["nconnect=2", "max_connect=4"],
    &["bsize=4096", "bsize=8192"],
    &["intr", "nointr"],
    &["bg", "defaults", "_netdev"],
    &["x-systemd.automount", "comment=text", "nofail"],
    &["noatime", "relatime", "silent"],
];

/// Lists that mount.nfs refuses.
pub(crate) const REFUSED: [&str; 12] = [
    "nosuchoption",
    "timeo=0",
    "rsize=32k",
    "hard=1",
    "HARD",
    "lookupcache=some",
    "local_lock=some",
    "nconnect=17",
    "mountvers=9,vers=3",
    "udp,vers=4.2",
    "vers=5",
    "retrans=-1",
];

/// At least 200 different lists, each with a version: every order of each family, and random mixtures of families.
pub(crate) fn lists() -> Vec<Vec<&'static str>> {
    let mut lists: Vec<Vec<&str>> = FAMILIES.iter().flat_map(|family| orders(family)).collect();
    let mut random = Random::new(20_261_126);
    for _ in 0..70 {
        let mut list = Vec::new();
        for _ in 0..=random.below(5) {
            let family = choose(&mut random, FAMILIES);
            list.push(choose(&mut random, family));
        }
        lists.push(list);
    }
    for (number, list) in lists.iter_mut().enumerate() {
        list.push(if number % 2 == 0 { "vers=3" } else { "nfsvers=4.2" });
    }
    lists
}

fn choose<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[usize::try_from(random.below(from.len() as u64)).unwrap()]
}

/// All orders of the members.
fn orders(members: &[&'static str]) -> Vec<Vec<&'static str>> {
    if members.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, first) in members.iter().enumerate() {
        let others = [&members[..index], &members[index + 1..]].concat();
        all.extend(orders(&others).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    all
}
