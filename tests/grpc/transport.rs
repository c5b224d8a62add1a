//! What clients of gRPC implementations other than tonic and grpc-go send on a Unix socket.

use std::time::Duration;

use loona_hpack::{Decoder, Encoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::Driver;

const HEADERS: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Calls Probe with an `authority`, and returns the gRPC status in the trailers.
async fn probe(socket: &std::path::Path, authority: &str) -> String {
    let fields: [(&[u8], &[u8]); 6] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/csi.v1.Identity/Probe"),
        (b":authority", authority.as_bytes()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ];
    let (end_headers, end_stream) = (4, 1);
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(HEADERS, end_headers, 1, &Encoder::new().encode(fields)),
        // An empty message.
        frame(0, end_stream, 1, &[0; 5]),
    ];
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(&request.concat()).await.unwrap();
    let mut decoder = Decoder::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await.expect("the server keeps the connection");
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        assert_ne!(header[3], 3, "RST_STREAM: the server does not accept the request");
        if header[3] == HEADERS {
            let fields = decoder.decode(&payload).unwrap();
            if let Some((_, status)) = fields.into_iter().find(|(name, _)| name == b"grpc-status") {
                return String::from_utf8(status).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_client_may_name_the_path_of_the_socket_as_its_authority() {
    let driver = Driver::start().await;
    let socket = driver.temporary.path().join("node.sock");
    for authority in ["localhost", "/csi/csi.sock", "%2Fcsi%2Fcsi.sock"] {
        let status = tokio::time::timeout(Duration::from_secs(10), probe(&socket, authority)).await;
        assert_eq!(status.expect("an answer"), "0", "{authority}");
    }
}
