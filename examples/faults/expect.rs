//! What docs/FAULTS.md promises for each call, fault and moment.

use std::time::Duration;

use tonic::Code;

use crate::calls::{Class, Outcome, REVOKED_AFTER};
use crate::fault::{Fault, Moment};
use crate::world::CALL_TIMEOUT;

/// All calls of a cell begin at the same moment on a guest with one processor. This is on a machine that does nothing else.
const CROWD: Duration = Duration::from_secs(2);
/// A call that needs no server is answered within this time.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Any other call is answered within its timeout.
const WITHIN: Duration = Duration::from_secs(CALL_TIMEOUT);
/// The longest message, in bytes.
const LONGEST: usize = 1000;

/// Why an outcome is not what is promised. `None` if it is. `load` is [`crate::agent::load`].
pub(crate) fn broken(fault: Fault, moment: Moment, outcome: &Outcome, load: f64) -> Option<String> {
    let bound = match outcome.class {
        Class::MountTable if outcome.name.contains("during") => AT_ONCE + REVOKED_AFTER,
        Class::Known | Class::Unimplemented | Class::MountTable => AT_ONCE,
        _ => WITHIN,
    };
    if outcome.took > bound + CROWD.mul_f64(load) {
        return Some(format!("it took longer than {bound:?}"));
    }
    let allowed = codes(fault, moment, outcome.class);
    if !allowed.contains(&outcome.code) {
        return Some(format!("only {allowed:?} is allowed"));
    }
    if [Code::Ok, Code::Unimplemented].contains(&outcome.code) {
        return None;
    }
    if outcome.message.len() > LONGEST {
        return Some(format!("the message has {} bytes", outcome.message.len()));
    }
    if !outcome.message.contains("nfs-faulty") {
        return Some("the message does not name the export".to_owned());
    }
    let causes = causes(fault);
    let named = causes.iter().any(|cause| outcome.message.contains(cause));
    (!named && !causes.is_empty()).then(|| format!("the message has none of {causes:?}"))
}

/// The codes that a call may be answered with.
fn codes(fault: Fault, moment: Moment, class: Class) -> Vec<Code> {
    let during = moment == Moment::During;
    match class {
        Class::Known | Class::MountTable => return vec![Code::Ok],
        Class::Unimplemented => return vec![Code::Unimplemented],
        // The answer tells the trouble. It fails only if the look at the export takes too long.
        Class::Health => return vec![Code::Ok, Code::DeadlineExceeded],
        _ => {}
    }
    let mut codes = match fault {
        // Before it mounts the export, the driver finds out that nothing answers. Afterwards it waits for the kernel, which waits
        // for the server.
        fault if fault.is_dead() => match moment {
            Moment::Cold => vec![Code::Internal, Code::DeadlineExceeded],
            Moment::Warm | Moment::During => vec![Code::DeadlineExceeded],
        },
        Fault::OtherFsid if class == Class::Stats => vec![Code::FailedPrecondition],
        // A restart takes some seconds, and a client connects again later than the server comes back. What a deletion has begun looks
        // to its second half as if somebody else had done it.
        Fault::OtherFsid if during && class == Class::Remove => vec![Code::DeadlineExceeded, Code::Aborted],
        Fault::OtherFsid if during => vec![Code::DeadlineExceeded],
        Fault::Restarted | Fault::Slow => vec![Code::Ok, Code::DeadlineExceeded],
        // To change a mode or a record, and to remove something, needs no space.
        Fault::DiskFull | Fault::QuotaExceeded => match class {
            Class::Copy | Class::Create => vec![Code::ResourceExhausted],
            _ => vec![Code::Ok],
        },
        // To a client, a server that denies everything looks like one that does not export the directory.
        Fault::Withdrawn => vec![Code::Internal, Code::FailedPrecondition],
        Fault::ReadOnly => match class {
            Class::Create | Class::Write | Class::Copy | Class::Remove => vec![Code::Internal],
            _ => vec![Code::Ok],
        },
        Fault::RootSquash => match class {
            Class::Stats | Class::Publish | Class::Room => vec![Code::Ok, Code::FailedPrecondition],
            _ => vec![Code::FailedPrecondition],
        },
        Fault::DnsSilent | Fault::DnsGone | Fault::RpcbindSilent
            if moment == Moment::Cold && class != Class::Stats =>
        {
            vec![Code::Internal]
        }
        _ => vec![Code::Ok],
    };
    // A call that waits for a copy is answered before its time is over.
    if class == Class::Copy && codes.contains(&Code::DeadlineExceeded) {
        codes.push(Code::Aborted);
    }
    // The server may have done what the call needs before the fault.
    if during && !codes.contains(&Code::Ok) {
        codes.push(Code::Ok);
    }
    codes
}

/// Words that name the cause. The message has one of them.
fn causes(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::DiskFull | Fault::QuotaExceeded => &["No space left", "quota"],
        Fault::ReadOnly => &["Read-only file system"],
        Fault::RootSquash => &["no_root_squash"],
        Fault::DnsSilent | Fault::DnsGone => &["resolve"],
        Fault::RpcbindSilent => &["rpcbind"],
        Fault::Withdrawn => &["does it export this share", "does it still export this share"],
        Fault::OtherFsid => &["restart the pod", "does the NFS server run"],
        _ => &["does the NFS server run", "is it running"],
    }
}
