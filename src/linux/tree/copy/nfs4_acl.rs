//! The form of an NFS 4 access control list in the attribute `system.nfs4_acl` (RFC 7530 section 6.2.1, in XDR).

/// One entry of a list.
struct Access<'a> {
    flags: u32,
    who: &'a [u8],
}

impl Access<'_> {
    /// Whether new entries of the directory inherit it (RFC 7530 section 6.2.1.4: the inheritance flags).
    fn is_heritable(&self) -> bool {
        self.flags & 0x0b != 0
    }
}

/// The entries of a list; `None` if it does not have the expected form.
fn entries(list: &[u8]) -> Option<Vec<Access<'_>>> {
    fn word(bytes: &mut &[u8]) -> Option<u32> {
        let (word, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u32::from_be_bytes(*word))
    }
    let mut bytes = list;
    let count = word(&mut bytes)?;
    (0..count)
        .map(|_| {
            let (_kind, flags, _rights, length) =
                (word(&mut bytes)?, word(&mut bytes)?, word(&mut bytes)?, word(&mut bytes)? as usize);
            let who = bytes.get(..length)?;
            bytes = bytes.get(length.next_multiple_of(4)..)?;
            Some(Access { flags, who })
        })
        .collect()
}

/// Whether the list says only what the mode says. Then a file system without such lists loses nothing.
pub(super) fn is_mode_equivalent(list: &[u8]) -> bool {
    let of_mode =
        |entry: &Access| matches!(entry.who, b"OWNER@" | b"GROUP@" | b"EVERYONE@") && !entry.is_heritable();
    entries(list).is_some_and(|entries| entries.iter().all(of_mode))
}

/// Whether new entries of the directory inherit from the list.
pub(super) fn is_heritable(list: &[u8]) -> bool {
    entries(list).is_some_and(|entries| entries.iter().any(Access::is_heritable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u32, &str)]) -> Vec<u8> {
        let mut list = u32::try_from(entries.len()).unwrap().to_be_bytes().to_vec();
        for (flags, who) in entries {
            for word in [0, *flags, 0x0012_0089, u32::try_from(who.len()).unwrap()] {
                list.extend(word.to_be_bytes());
            }
            list.extend(who.bytes().chain(std::iter::repeat_n(0, who.len().next_multiple_of(4) - who.len())));
        }
        list
    }

    #[test]
    fn a_list_that_says_what_the_mode_says_is_recognised() {
        let plain = list(&[(0, "OWNER@"), (0x40, "GROUP@"), (0, "EVERYONE@")]);
        assert!(is_mode_equivalent(&plain) && !is_heritable(&plain));
        let named = list(&[(0, "OWNER@"), (0, "1234")]);
        assert!(!is_mode_equivalent(&named) && !is_heritable(&named));
        let inherited = list(&[(0, "OWNER@"), (0x0b, "OWNER@")]);
        assert!(!is_mode_equivalent(&inherited) && is_heritable(&inherited));
    }

    #[test]
    fn bytes_that_are_not_a_list_are_neither() {
        let whole = list(&[(0, "EVERYONE@")]);
        for length in 0..whole.len() {
            assert!(!is_mode_equivalent(&whole[..length]) && !is_heritable(&whole[..length]), "{length}");
        }
        assert!(!is_mode_equivalent(&[0xff; 64]) && !is_heritable(&[0xff; 64]));
    }
}
