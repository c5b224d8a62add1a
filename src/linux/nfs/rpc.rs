//! One ONC RPC call over TCP (RFC 5531), bounded as a whole.
//!
//! mount(2) may try a silent server for minutes, and a second mount waits behind the first. So nothing is mounted before each program
//! that the mount needs has answered a call.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// RPC program number of NFS (RFC 1813, RFC 7530).
const NFS: u32 = 100_003;
/// RPC program number of rpcbind (RFC 1833).
const RPCBIND: u32 = 100_000;
/// RPC program number of mountd (RFC 1813, appendix I).
const MOUNTD: u32 = 100_005;
/// RPC program number of the status monitor, rpc.statd (X/Open XNFS, chapter 11).
const STATUS: u32 = 100_024;
/// Protocol numbers of IP.
const TCP: u32 = 6;
const UDP: u32 = 17;
/// How long one call may take: connecting, sending and receiving together.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// The replies to the calls below have 24 to 32 bytes; anything much larger is no server of these programs.
const LONGEST_REPLY: usize = 512;
/// The procedure that every program has, and that does nothing.
const NULL: u32 = 0;
const CALL_ID: u32 = 0x6e66_7363;

/// Asks the server at `address` for the NFS versions it offers. At most [`LIMIT`].
pub(super) fn nfs_versions(address: SocketAddr) -> io::Result<RangeInclusive<u32>> {
    // No server offers this version, so the answer is a mismatch, and that names the lowest and the highest
    // version there are (RFC 5531 section 9, PROG_MISMATCH).
    const NO_VERSION: u32 = u32::MAX;
    match call(address, [NFS, NO_VERSION, NULL], &[])? {
        Reply::Mismatch(versions) => Ok(versions),
        Reply::Success(_) => Err(not_rpc()),
    }
}

/// Asks the rpcbind at `address` for the TCP port of the mountd there. At most [`LIMIT`].
pub(super) fn mountd_port(address: SocketAddr) -> io::Result<u16> {
    port_of(address, [MOUNTD, 3, TCP])?
        .ok_or_else(|| io::Error::other("no mountd is registered there for NFS 3 over TCP"))
}

/// Asks the rpcbind at `address` whether it knows a status monitor, as the kernel asks before the first lock with NFS 3. At most [`LIMIT`].
pub(super) fn has_status_monitor(address: SocketAddr) -> io::Result<bool> {
    Ok(port_of(address, [STATUS, 1, UDP])?.is_some())
}

/// Asks an rpcbind for the port of a program, given as program, version and protocol.
fn port_of(address: SocketAddr, [program, version, protocol]: [u32; 3]) -> io::Result<Option<u16>> {
    const VERSION: u32 = 2;
    const GETPORT: u32 = 3;
    let arguments = [program, version, protocol, 0];
    let Reply::Success(words) = call(address, [RPCBIND, VERSION, GETPORT], &arguments)? else {
        return Err(not_rpc());
    };
    match words.first().map(|&port| u16::try_from(port)) {
        Some(Ok(0)) => Ok(None),
        Some(Ok(port)) => Ok(Some(port)),
        _ => Err(not_rpc()),
    }
}

/// Asks the mountd at `address` whether it answers. At most [`LIMIT`].
pub(super) fn ask_mountd(address: SocketAddr) -> io::Result<()> {
    call(address, [MOUNTD, 3, NULL], &[]).map(drop)
}

/// What a program answers.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    /// The results of the procedure.
    Success(Vec<u32>),
    /// The program has these versions, and not the one that was called.
    Mismatch(RangeInclusive<u32>),
}

/// Calls a procedure, given as program, version and number, with these arguments.
fn call(address: SocketAddr, procedure: [u32; 3], arguments: &[u32]) -> io::Result<Reply> {
    let deadline = Instant::now() + LIMIT;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(&message(procedure, arguments))?;
    let mut mark = [0; 4];
    read(&mut stream, &mut mark, deadline)?;
    let length = (u32::from_be_bytes(mark) & 0x7fff_ffff) as usize;
    if length > LONGEST_REPLY {
        return Err(not_rpc());
    }
    let mut reply = vec![0; length];
    read(&mut stream, &mut reply, deadline)?;
    parse_reply(&reply)
}

/// Fills the buffer before the deadline, however slowly the bytes come.
fn read(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(silent()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(silent()) } else { Ok(left) }
}

fn silent() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("it accepts connections and gives no answer for {} s", LIMIT.as_secs()),
    )
}

/// A call as one record: the record mark, then the header without credentials, then the arguments.
fn message([program, version, procedure]: [u32; 3], arguments: &[u32]) -> Vec<u8> {
    const CALL: u32 = 0;
    const RPC_VERSION: u32 = 2;
    const LAST_FRAGMENT: u32 = 0x8000_0000;
    // The four zeros: no credential and no verifier, each a flavour and a length.
    let header = [CALL_ID, CALL, RPC_VERSION, program, version, procedure, 0, 0, 0, 0];
    let words: Vec<u32> = header.iter().chain(arguments).copied().collect();
    let length = u32::try_from(words.len() * 4).expect("a few words");
    std::iter::once(LAST_FRAGMENT + length).chain(words).flat_map(u32::to_be_bytes).collect()
}

fn parse_reply(reply: &[u8]) -> io::Result<Reply> {
    const REPLY: u32 = 1;
    const SUCCESS: u32 = 0;
    const PROG_UNAVAIL: u32 = 1;
    const PROG_MISMATCH: u32 = 2;
    let words: Vec<u32> = reply.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word)).collect();
    // id, REPLY, accepted, verifier flavour, verifier length 0, status, and what belongs to the status
    let [CALL_ID, REPLY, 0, _, 0, status, rest @ ..] = words.as_slice() else { return Err(not_rpc()) };
    match (*status, rest) {
        (SUCCESS, results) => Ok(Reply::Success(results.to_vec())),
        (PROG_MISMATCH, [low, high]) => Ok(Reply::Mismatch(*low..=*high)),
        (PROG_UNAVAIL, _) => Err(io::Error::other("the server there does not offer this service")),
        _ => Err(not_rpc()),
    }
}

fn not_rpc() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "another program than the expected one answers there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().copied().flat_map(u32::to_be_bytes).collect()
    }

    /// The address of a server that takes one connection and answers it with `reply`, one byte after the other if `slowly`.
    fn answering(reply: Vec<u8>, slowly: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = [0; 44];
            stream.read_exact(&mut call).unwrap();
            if !slowly {
                return stream.write_all(&reply).unwrap();
            }
            for byte in reply {
                // The other end may have gone.
                let _ = stream.write_all(&[byte]);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        address
    }

    #[test]
    fn the_versions_of_a_mismatch_are_the_answer() {
        let reply = words(&[0x8000_0000 + 32, CALL_ID, 1, 0, 0, 0, 2, 3, 4]);
        assert_eq!(nfs_versions(answering(reply, false)).unwrap(), 3..=4);
    }

    #[test]
    fn a_server_that_sends_a_byte_a_second_is_cut_off_as_a_whole() {
        let reply = words(&[0x8000_0000 + 32, CALL_ID, 1, 0, 0, 0, 2, 3, 4]);
        let begun = Instant::now();
        let error = nfs_versions(answering(reply, true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(begun.elapsed() < LIMIT + Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn rpcbind_names_the_port_of_mountd_or_says_that_there_is_none() {
        let reply = |port| words(&[0x8000_0000 + 28, CALL_ID, 1, 0, 0, 0, 0, port]);
        assert_eq!(mountd_port(answering(reply(892), false)).unwrap(), 892);
        let none = mountd_port(answering(reply(0), false)).unwrap_err().to_string();
        assert!(none.contains("no mountd is registered"), "{none}");
        assert!(mountd_port(answering(reply(70_000), false)).is_err());
    }

    #[test]
    fn another_protocol_is_not_taken_for_nfs() {
        let error = nfs_versions(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let unavailable = words(&[0x8000_0000 + 24, CALL_ID, 1, 0, 0, 0, 1]);
        let error = nfs_versions(answering(unavailable, false)).unwrap_err().to_string();
        assert!(error.contains("does not offer this service"), "{error}");
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
