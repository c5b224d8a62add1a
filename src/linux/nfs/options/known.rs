//! The options of the kernel's NFS client, and the values that each of them can have.

use super::error::OptionError;

/// The form of an option.
enum Form {
    /// `name`
    Flag,
    /// `name` or `noname`
    Switch,
    /// `name`, `noname` or `name=text`
    SwitchOrText,
    /// `name=number`, with the smallest and the largest number
    Number(u32, u32),
    /// `name=word`
    Word(&'static [&'static str]),
    /// `name=word:word:…`
    Words(&'static [&'static str]),
    /// `name=text`
    Text,
}

const TRANSPORTS: &[&str] = &["tcp", "tcp6", "udp", "udp6", "rdma", "rdma6"];
const SECURITY: &[&str] =
    &["none", "null", "sys", "krb5", "krb5i", "krb5p", "lkey", "lkeyi", "lkeyp", "spkm3", "spkm3i", "spkm3p"];
const LARGEST: u32 = i32::MAX as u32;

/// nfs(5) and `nfs_fs_parameters` in the kernel's fs/nfs/fs_context.c, up to Linux 6.18. The last two are options that
/// kernels of some storage vendors have.
const OPTIONS: &[(&str, Form)] = &[
    ("ac", Form::Switch),
    ("acdirmax", Form::Number(0, u32::MAX)),
    ("acdirmin", Form::Number(0, u32::MAX)),
    ("acl", Form::Switch),
    ("acregmax", Form::Number(0, u32::MAX)),
    ("acregmin", Form::Number(0, u32::MAX)),
    ("actimeo", Form::Number(0, u32::MAX)),
    ("alignwrite", Form::Switch),
    ("async", Form::Flag),
    ("bsize", Form::Number(0, u32::MAX)),
    ("cert_serial", Form::Text),
    ("clientaddr", Form::Text),
    ("context", Form::Text),
    ("cto", Form::Switch),
    ("defcontext", Form::Text),
    ("dirsync", Form::Flag),
    ("fatal_neterrors", Form::Word(&["default", "ENETDOWN:ENETUNREACH", "ENETUNREACH:ENETDOWN", "none"])),
    ("fsc", Form::SwitchOrText),
    ("fscontext", Form::Text),
    ("hard", Form::Flag),
    ("intr", Form::Switch),
    ("local_lock", Form::Word(&["all", "flock", "posix", "none"])),
    ("lock", Form::Switch),
    ("lookupcache", Form::Word(&["all", "none", "pos", "positive"])),
    ("max_connect", Form::Number(1, 16)),
    ("migration", Form::Switch),
    ("mountport", Form::Number(0, 65535)),
    ("mountproto", Form::Word(TRANSPORTS)),
    ("mountvers", Form::Number(1, 3)),
    ("namlen", Form::Number(0, u32::MAX)),
    ("nconnect", Form::Number(1, 16)),
    ("port", Form::Number(0, 65535)),
    ("posix", Form::Switch),
    ("privkey_serial", Form::Text),
    ("proto", Form::Word(TRANSPORTS)),
    ("rdirplus", Form::SwitchOrText),
    ("rdma", Form::Flag),
    ("resvport", Form::Switch),
    ("retrans", Form::Number(0, LARGEST)),
    ("rootcontext", Form::Text),
    ("rsize", Form::Number(0, u32::MAX)),
    ("sec", Form::Words(SECURITY)),
    ("seclabel", Form::Flag),
    ("sharecache", Form::Switch),
    ("soft", Form::Flag),
    ("softerr", Form::Flag),
    ("softreval", Form::Switch),
    ("sync", Form::Flag),
    ("tcp", Form::Flag),
    ("timeo", Form::Number(1, LARGEST)),
    ("trunkdiscovery", Form::Switch),
    ("udp", Form::Flag),
    ("write", Form::Word(&["lazy", "eager", "wait"])),
    ("wsize", Form::Number(0, u32::MAX)),
    ("xprtsec", Form::Word(&["none", "tls", "mtls"])),
    ("localports", Form::Text),
    ("remoteports", Form::Text),
];

/// Other names that options can have; used only to find what was meant by a name that does not exist.
const OTHER_NAMES: [&str; 12] = [
    "ro",
    "rw",
    "nosuid",
    "nodev",
    "noexec",
    "suid",
    "dev",
    "exec",
    "vers",
    "nfsvers",
    "minorversion",
    "noatime",
];

/// Checks an option for the kernel's NFS client. Returns the name of the option without `no`.
pub(super) fn check<'a>(name: &'a str, value: Option<&str>) -> Result<&'a str, OptionError> {
    let find = |name: &str| OPTIONS.iter().find(|(own, _)| *own == name).map(|(_, form)| form);
    let has_no = name.strip_prefix("no").filter(|positive| {
        find(positive).is_some_and(|form| matches!(form, Form::Switch | Form::SwitchOrText))
    });
    if let Some(positive) = has_no {
        return match value {
            None => Ok(positive),
            Some(_) => Err(wrong(name, "it has no value")),
        };
    }
    let form = find(name).ok_or_else(|| OptionError::Unknown { name: cut(name), nearest: nearest(name) })?;
    check_value(name, value, form)?;
    Ok(name)
}

fn check_value(name: &str, value: Option<&str>, form: &Form) -> Result<(), OptionError> {
    let choice = |words: &[&str]| format!("the value must be one of {}", words.join(", "));
    match (form, value) {
        (Form::Flag | Form::Switch | Form::SwitchOrText, None) => Ok(()),
        (Form::Flag | Form::Switch, Some(_)) => Err(wrong(name, "it has no value")),
        (Form::Text | Form::SwitchOrText, Some(value)) if !value.is_empty() => Ok(()),
        (Form::Text | Form::SwitchOrText, _) => Err(wrong(name, "it needs a value")),
        (Form::Number(least, most), Some(value)) => match number(value) {
            Some(number) if (*least..=*most).contains(&number) => Ok(()),
            _ => Err(wrong(name, &format!("the value must be a whole number from {least} to {most}"))),
        },
        (Form::Word(words), Some(value)) if words.contains(&value) => Ok(()),
        (Form::Words(words), Some(value)) if value.split(':').all(|word| words.contains(&word)) => Ok(()),
        (Form::Number(..), None) => Err(wrong(name, "it needs a number")),
        (Form::Word(words) | Form::Words(words), _) => Err(wrong(name, &choice(words))),
    }
}

fn wrong(option: &str, expected: &str) -> OptionError {
    OptionError::Value { option: option.to_owned(), expected: expected.to_owned() }
}

/// A number as the kernel reads it: decimal, hexadecimal after `0x`, or octal after `0`.
fn number(text: &str) -> Option<u32> {
    if text.starts_with('+') {
        return None;
    }
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(&text[1..], 8).ok(),
        None => text.parse().ok(),
    }
}

/// The beginning of a text, for a message.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

fn nearest(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let switches = |(name, form): &(&str, Form)| {
        let no = matches!(form, Form::Switch | Form::SwitchOrText).then(|| format!("no{name}"));
        [Some((*name).to_owned()), no]
    };
    let known = OPTIONS.iter().flat_map(switches).flatten().chain(OTHER_NAMES.map(str::to_owned));
    let likeness = |candidate: &String| strsim::jaro_winkler(&name, candidate);
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.8).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_every_form_are_known() {
        for (name, value) in [
            ("noac", None),
            ("nofsc", None),
            ("fsc", Some("tag")),
            ("acregmin", Some("0x10")),
            ("timeo", Some("600")),
            ("sec", Some("krb5p:sys")),
            ("lookupcache", Some("positive")),
            ("context", Some("\"a:c1,c2\"")),
        ] {
            assert!(check(name, value).is_ok(), "{name} {value:?}");
        }
        assert_eq!(check("nolock", None), Ok("lock"));
    }

    #[test]
    fn a_wrong_option_is_refused_with_its_name_and_what_would_be_right() {
        for (name, value, words) in [
            ("timeo", Some("0"), "`timeo`: the value must be a whole number from 1 to"),
            ("rsize", Some("32k"), "`rsize`: the value must be a whole number"),
            ("timeo", None, "`timeo`: it needs a number"),
            ("hard", Some("1"), "`hard`: it has no value"),
            ("nolock", Some("1"), "`nolock`: it has no value"),
            ("sec", Some("krb"), "must be one of none, null, sys, krb5"),
            ("lookupcache", Some("some"), "must be one of all, none, pos, positive"),
            ("context", Some(""), "`context`: it needs a value"),
            ("nosoft", None, "did you mean `nosoftreval`?"),
            ("harrd", None, "did you mean `hard`?"),
            ("HARD", None, "did you mean `hard`?"),
            ("nfsver", Some("4"), "did you mean `nfsvers`?"),
            ("xyzzy", Some("secret"), "`xyzzy` does not exist for NFS"),
        ] {
            let error = check(name, value).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{name} {value:?}: {error}");
        }
    }
}
