//! Lets clients connect whose HTTP/2 `:authority` is the path of the socket.
//!
//! gRPC's C core (Python, C++, Ruby) and gRPC for Java and Swift send the path of a Unix socket as the authority of each request, either as
//! it is or percent-encoded. RFC 3986 section 3.2 allows neither, and the `h2` crate resets the stream (PROTOCOL_ERROR). The authority means
//! nothing on a Unix socket. So this module reads the header blocks of a connection and replaces such an authority before `h2` sees it.
//!
//! Only HEADERS and CONTINUATION frames are decoded (RFC 9113 section 6.2, RFC 7541); all other frames pass through as they are.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use loona_hpack::{Decoder, Encoder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::codegen::http::uri::Authority;
use tonic::transport::server::Connected;

/// What every client sends first (RFC 9113 section 3.4).
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// The largest payload of a frame unless the server allows more (SETTINGS_MAX_FRAME_SIZE), which it does not.
const LARGEST_PAYLOAD: usize = 16_384;
/// The largest block of headers in bytes, both compressed and decompressed.
const LARGEST_HEADERS: usize = 64 << 10;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection whose requests all have a valid authority.
pub(super) struct AnyAuthority {
    stream: UnixStream,
    requests: Requests,
}

impl AnyAuthority {
    /// Wraps a new connection, from which nothing has been read yet.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, requests: Requests::default() }
    }
}

impl Connected for AnyAuthority {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for AnyAuthority {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        loop {
            let ready = &mut this.requests.ready;
            if !ready.is_empty() {
                let count = ready.len().min(into.remaining());
                into.put_slice(&ready[..count]);
                ready.drain(..count);
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; 4096];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                // The end of the connection. What is left is the beginning of a frame, which nobody can use.
                return Poll::Ready(Ok(()));
            }
            this.requests.take(buffer.filled())?;
        }
    }
}

impl AsyncWrite for AnyAuthority {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The bytes of a connection, from the client to the server.
#[derive(Default)]
struct Requests {
    preface_read: usize,
    /// Bytes of a frame that is not complete yet.
    incomplete: Vec<u8>,
    /// Bytes that the server can read.
    ready: Vec<u8>,
    /// A block of headers whose last frame has not come yet.
    block: Option<Block>,
    decoder: Decoder<'static>,
    encoder: Encoder<'static>,
}

struct Block {
    stream: [u8; 4],
    end_stream: u8,
    fragments: Vec<u8>,
}

impl Requests {
    /// Takes bytes from the client, and makes ready those that belong to complete frames.
    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.preface_read < PREFACE {
            let (preface, rest) = bytes.split_at(bytes.len().min(PREFACE - self.preface_read));
            self.ready.extend_from_slice(preface);
            self.preface_read += preface.len();
            bytes = rest;
        }
        self.incomplete.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(header) = self.incomplete.get(begin..begin + FRAME_HEADER) {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            if length > LARGEST_PAYLOAD {
                return Err(malformed("a frame is larger than allowed"));
            }
            let Some(frame) = self.incomplete.get(begin..begin + FRAME_HEADER + length) else { break };
            begin += frame.len();
            let frame = frame.to_vec();
            self.frame(&frame)?;
        }
        self.incomplete.drain(..begin);
        Ok(())
    }

    fn frame(&mut self, frame: &[u8]) -> Result<()> {
        let (kind, flags) = (frame[3], frame[4]);
        let stream = [frame[5], frame[6], frame[7], frame[8]];
        let payload = &frame[FRAME_HEADER..];
        match (kind, &mut self.block) {
            (HEADERS, None) => {
                self.block = Some(Block {
                    stream,
                    end_stream: flags & END_STREAM,
                    fragments: fragment(flags, payload)?.to_vec(),
                });
            }
            (CONTINUATION, Some(block)) if block.stream == stream => {
                if block.fragments.len() + payload.len() > LARGEST_HEADERS {
                    return Err(malformed("a request has too many headers"));
                }
                block.fragments.extend_from_slice(payload);
            }
            // RFC 9113 section 6.2: nothing may come between the frames of a block.
            (_, Some(_)) => return Err(malformed("a frame stands between HEADERS and CONTINUATION")),
            (_, None) => {
                self.ready.extend_from_slice(frame);
                return Ok(());
            }
        }
        if flags & END_HEADERS != 0
            && let Some(block) = self.block.take()
        {
            self.headers(&block)?;
        }
        Ok(())
    }

    /// Makes a complete block of headers ready, with an authority that is valid.
    fn headers(&mut self, block: &Block) -> Result<()> {
        let (mut fields, mut size) = (Vec::new(), 0);
        let decoded = self.decoder.decode_with_cb(&block.fragments, |name, value| {
            size += name.len() + value.len();
            if size <= LARGEST_HEADERS {
                let is_unusable = &*name == b":authority" && Authority::try_from(&*value).is_err();
                let value = if is_unusable { b"localhost".to_vec() } else { value.into_owned() };
                fields.push((name.into_owned(), value));
            }
        });
        decoded
            .map_err(|error| malformed(&format!("the headers of a request cannot be decoded: {error:?}")))?;
        if size > LARGEST_HEADERS {
            return Err(malformed("a request has too many headers"));
        }
        let encoded = self.encoder.encode(fields.iter().map(|(name, value)| (&name[..], &value[..])));
        let mut rest = &encoded[..];
        for number in 0.. {
            let (payload, after) = rest.split_at(rest.len().min(LARGEST_PAYLOAD));
            rest = after;
            let end_headers = if rest.is_empty() { END_HEADERS } else { 0 };
            let (kind, flags) = if number == 0 {
                (HEADERS, block.end_stream | end_headers)
            } else {
                (CONTINUATION, end_headers)
            };
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
            self.ready.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
            self.ready.extend_from_slice(&block.stream);
            self.ready.extend_from_slice(payload);
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// The part of a HEADERS payload that belongs to the block: without padding, and without the priority, which HTTP/2 no longer uses.
fn fragment(flags: u8, payload: &[u8]) -> Result<&[u8]> {
    let short = || malformed("a HEADERS frame is too short");
    let (padding, mut payload) = match flags & PADDED {
        0 => (0, payload),
        _ => payload.split_first().map(|(length, rest)| (usize::from(*length), rest)).ok_or_else(short)?,
    };
    if flags & PRIORITY != 0 {
        payload = payload.get(5..).ok_or_else(short)?;
    }
    payload.get(..payload.len().checked_sub(padding).ok_or_else(short)?).ok_or_else(short)
}

fn malformed(what: &str) -> Error {
    tracing::warn!(what, "a client of the socket does not speak HTTP/2; its connection is closed");
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFACE_TEXT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn fields(authority: &[u8]) -> Vec<(&[u8], &[u8])> {
        vec![(b":method", b"POST"), (b":path", b"/csi.v1.Identity/Probe"), (b":authority", authority)]
    }

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    /// The fields of all blocks of headers, and the other bytes.
    fn read(mut bytes: &[u8]) -> (Vec<Fields>, Vec<u8>) {
        let (mut decoder, mut blocks, mut others) = (Decoder::new(), Vec::new(), Vec::new());
        let mut block = Vec::new();
        bytes = bytes.strip_prefix(PREFACE_TEXT).unwrap();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
            let (frame, rest) = bytes.split_at(FRAME_HEADER + length);
            bytes = rest;
            match frame[3] {
                HEADERS | CONTINUATION => {
                    block.extend_from_slice(&frame[FRAME_HEADER..]);
                    if frame[4] & END_HEADERS != 0 {
                        blocks.push(decoder.decode(&std::mem::take(&mut block)).unwrap());
                    }
                }
                _ => others.extend_from_slice(frame),
            }
        }
        (blocks, others)
    }

    #[test]
    fn the_path_of_a_socket_is_replaced_and_a_host_is_not() {
        for (authority, expected) in [
            ("/csi/csi.sock", "localhost"),
            ("%2Fcsi%2Fcsi.sock", "localhost"),
            ("unix:///csi/csi.sock", "localhost"),
            ("localhost", "localhost"),
            ("nas.example:50051", "nas.example:50051"),
        ] {
            let mut encoder = Encoder::new();
            let mut requests = Requests::default();
            requests.take(PREFACE_TEXT).unwrap();
            // The second block uses the table that the first one has filled.
            for _ in 0..2 {
                let block = encoder.encode(fields(authority.as_bytes()));
                requests.take(&frame(HEADERS, END_HEADERS, &block)).unwrap();
            }
            let (blocks, _) = read(&requests.ready);
            assert_eq!(blocks.len(), 2);
            for block in blocks {
                assert_eq!(block[1].1, b"/csi.v1.Identity/Probe");
                assert_eq!(block[2], (b":authority".to_vec(), expected.as_bytes().to_vec()), "{authority}");
            }
        }
    }

    #[test]
    fn frames_arrive_in_pieces_with_padding_priority_and_continuations() {
        let block = Encoder::new().encode(fields(b"/csi/csi.sock"));
        let (first, second) = block.split_at(7);
        let padded = [&[3][..], &[0, 0, 0, 0, 16], first, &[0, 0, 0]].concat();
        let settings = frame(4, 0, &[]);
        let data = frame(0, END_STREAM, &[0, 0, 0, 0, 0]);
        let bytes = [
            PREFACE_TEXT,
            &settings,
            &frame(HEADERS, PADDED | PRIORITY, &padded),
            &frame(CONTINUATION, END_HEADERS, second),
            &data,
        ]
        .concat();
        for size in [1, 2, 5, 1000] {
            let mut requests = Requests::default();
            bytes.chunks(size).for_each(|piece| requests.take(piece).unwrap());
            let (blocks, others) = read(&requests.ready);
            assert_eq!(blocks[0][2].1, b"localhost", "{size}");
            assert_eq!(others, [settings.clone(), data.clone()].concat(), "{size}");
        }
    }

    #[test]
    fn a_client_cannot_use_much_memory() {
        let mut endless = Requests::default();
        endless.take(PREFACE_TEXT).unwrap();
        endless.take(&frame(HEADERS, 0, &[])).unwrap();
        let piece = frame(CONTINUATION, 0, &[0; LARGEST_PAYLOAD]);
        let refused = (0..10).find_map(|_| endless.take(&piece).err());
        assert!(refused.is_some_and(|error| error.to_string().contains("too many headers")));

        // One entry of the table, repeated. The newest has the index 62.
        let mut bomb = Requests::default();
        bomb.take(PREFACE_TEXT).unwrap();
        let mut block = Encoder::new().encode([(&b"x"[..], &[b'y'; 3000][..])]);
        block.extend_from_slice(&[0x80 | 0x3e; 10_000]);
        let error = bomb.take(&frame(HEADERS, END_HEADERS, &block)).unwrap_err();
        assert!(error.to_string().contains("too many headers"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_u8..10, flags: u8) {
            let mut requests = Requests::default();
            requests.take(PREFACE_TEXT).unwrap();
            let _ = requests.take(&bytes);
            let mut requests = Requests::default();
            requests.take(PREFACE_TEXT).unwrap();
            let _ = requests.take(&frame(kind, flags, &bytes));
        }
    }
}
