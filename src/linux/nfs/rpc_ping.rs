//! Asks with one ONC RPC call (RFC 5531) whether an NFS server answers at an address, and which versions it has.
//!
//! mount(2) may try a silent server for minutes, and a second mount waits behind the first. So nothing is
//! mounted before the server has answered a NULL call, the RPC protocol's ping.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::time::Duration;

/// RPC program number of NFS (RFC 1813, RFC 7530).
const NFS_PROGRAM: u32 = 100_003;
/// How long each of connecting, sending and receiving may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A reply to NULL has 24 bytes, or 32 if the version does not match. A much larger reply does not come from an NFS server.
const LONGEST_REPLY: usize = 512;

/// Asks the server at `address` for the NFS versions it offers. At most 15 seconds.
pub(super) fn nfs_versions(address: SocketAddr) -> io::Result<RangeInclusive<u32>> {
    // No server offers this version, so the answer is a mismatch, and that names the lowest and the highest
    // version there are (RFC 5531 section 9, PROG_MISMATCH).
    const NO_VERSION: u32 = u32::MAX;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(&null_call(NO_VERSION))?;

    let mut mark = [0; 4];
    stream.read_exact(&mut mark)?;
    let length = (u32::from_be_bytes(mark) & 0x7fff_ffff) as usize;
    if length > LONGEST_REPLY {
        return Err(not_rpc());
    }
    let mut reply = vec![0; length];
    stream.read_exact(&mut reply)?;
    parse_reply(&reply)
}

const CALL_ID: u32 = 0x6e66_7363;

/// A NULL call as one record: the record mark, then the call header without credentials.
fn null_call(version: u32) -> Vec<u8> {
    const CALL: u32 = 0;
    const RPC_VERSION: u32 = 2;
    const NULL_PROCEDURE: u32 = 0;
    const LAST_FRAGMENT: u32 = 0x8000_0000;
    // The four zeros: no credential and no verifier, each a flavour and a length.
    let words = [CALL_ID, CALL, RPC_VERSION, NFS_PROGRAM, version, NULL_PROCEDURE, 0, 0, 0, 0];
    let mark = LAST_FRAGMENT + 40;
    std::iter::once(mark).chain(words).flat_map(u32::to_be_bytes).collect()
}

fn parse_reply(reply: &[u8]) -> io::Result<RangeInclusive<u32>> {
    const REPLY: u32 = 1;
    const PROG_UNAVAIL: u32 = 1;
    const PROG_MISMATCH: u32 = 2;
    let word = |index: usize| {
        let bytes = reply.get(index * 4..index * 4 + 4).ok_or_else(not_rpc)?;
        Ok::<u32, io::Error>(u32::from_be_bytes(bytes.try_into().expect("four bytes")))
    };
    // id, REPLY, accepted, verifier flavour, verifier length 0, status, low, high
    if (word(0)?, word(1)?, word(2)?, word(4)?) != (CALL_ID, REPLY, 0, 0) {
        return Err(not_rpc());
    }
    match word(5)? {
        PROG_MISMATCH => Ok(word(6)?..=word(7)?),
        PROG_UNAVAIL => Err(io::Error::other("the server there does not offer NFS")),
        _ => Err(not_rpc()),
    }
}

fn not_rpc() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "another program than an NFS server answers there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().copied().flat_map(u32::to_be_bytes).collect()
    }

    /// The address of a server that takes one connection and answers it with `reply`.
    fn answering(reply: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = [0; 44];
            stream.read_exact(&mut call).unwrap();
            stream.write_all(&reply).unwrap();
        });
        address
    }

    #[test]
    fn the_versions_of_a_mismatch_are_the_answer() {
        let reply = words(&[0x8000_0000 + 32, CALL_ID, 1, 0, 0, 0, 2, 3, 4]);
        assert_eq!(nfs_versions(answering(reply)).unwrap(), 3..=4);
    }

    #[test]
    fn another_protocol_is_not_taken_for_nfs() {
        let error = nfs_versions(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let unavailable = words(&[0x8000_0000 + 24, CALL_ID, 1, 0, 0, 0, 1]);
        assert!(nfs_versions(answering(unavailable)).unwrap_err().to_string().contains("does not offer NFS"));
    }

    #[test]
    fn a_reply_cut_short_is_an_error() {
        for length in 0..32 {
            let whole = words(&[CALL_ID, 1, 0, 0, 0, 2, 3, 4]);
            assert!(parse_reply(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_closed_port_is_refused_at_once() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(nfs_versions(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
