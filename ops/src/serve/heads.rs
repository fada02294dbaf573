//! Lines of a request's head end with CR LF. A line feed alone is refused: where a proxy in front takes it for a part of a
//! header's value, a client could put headers of its own behind the proxy's back.
//!
//! The HTTP library takes a lone line feed as an end of line and cannot be told otherwise, so it is shown a byte that no head
//! may hold instead, and answers `400`. Bodies pass as they are: what follows a head is counted, as the library does.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, ReadBuf};

/// A line's beginning that is kept: names and values of the fields that say where a body ends are shorter.
const LINE_KEPT: usize = 64;

/// The reading half of a connection, with strict heads.
pub(super) struct StrictHeads<R> {
    reader: R,
    framing: Framing,
}

impl<R> StrictHeads<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            framing: Framing::default(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for StrictHeads<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        self.framing.look(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

/// Which part of a request the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    /// So many bytes of a body or of a chunk, and what follows it.
    Bytes(u64, Next),
    ChunkSize,
    Trailers,
    /// The connection changes its protocol, or a head is refused anyway.
    Unwatched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Head,
    ChunkSize,
}

/// Where in a stream of requests the reader stands.
#[derive(Debug)]
struct Framing {
    part: Part,
    /// The beginning of the line so far.
    line: Vec<u8>,
    last: u8,
    /// Whether the head has a line already; empty ones before it do not count.
    begun: bool,
    length: u64,
    is_chunked: bool,
    is_upgrade: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            part: Part::Head,
            line: Vec::with_capacity(LINE_KEPT),
            last: 0,
            begun: false,
            length: 0,
            is_chunked: false,
            is_upgrade: false,
        }
    }
}

impl Framing {
    /// Looks at what was read, and spoils line feeds of heads that stand alone.
    fn look(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            match self.part {
                Part::Unwatched => return,
                Part::Bytes(left, next) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += taken;
                    self.part = match (left - taken as u64, next) {
                        (0, Next::Head) => Part::Head,
                        (0, Next::ChunkSize) => Part::ChunkSize,
                        (left, next) => Part::Bytes(left, next),
                    };
                }
                Part::Head | Part::ChunkSize | Part::Trailers => {
                    let rest = &mut bytes[at..];
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let text = end.unwrap_or(rest.len());
                    self.keep(&rest[..text]);
                    at += text + usize::from(end.is_some());
                    if end.is_some() && self.last != b'\r' {
                        rest[text] = 0;
                        self.part = Part::Unwatched;
                    } else if end.is_some() {
                        self.line_ended();
                    }
                }
            }
        }
    }

    fn keep(&mut self, text: &[u8]) {
        let room = LINE_KEPT - self.line.len();
        self.line.extend_from_slice(&text[..room.min(text.len())]);
        self.last = text.last().copied().unwrap_or(self.last);
    }

    fn line_ended(&mut self) {
        let is_empty = self.line == b"\r";
        match self.part {
            Part::Head if is_empty && self.begun => self.head_ended(),
            Part::Head if is_empty => {}
            Part::Head => {
                self.begun = true;
                self.field();
            }
            Part::ChunkSize => self.chunk(),
            Part::Trailers if is_empty => self.request_ended(),
            Part::Trailers | Part::Bytes(..) | Part::Unwatched => {}
        }
        self.line.clear();
        self.last = 0;
    }

    /// Notes what a field says of the body.
    fn field(&mut self) {
        let Some(colon) = self.line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = self.line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            match number(&value[1..], 10) {
                Some(length) => self.length = length,
                None => self.part = Part::Unwatched,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.is_upgrade = true;
        }
    }

    fn head_ended(&mut self) {
        if self.is_upgrade {
            self.part = Part::Unwatched;
        } else if self.is_chunked {
            self.part = Part::ChunkSize;
        } else if self.length > 0 {
            let length = self.length;
            self.request_ended();
            self.part = Part::Bytes(length, Next::Head);
        } else {
            self.request_ended();
        }
    }

    fn chunk(&mut self) {
        let size = self.line.split(|byte| *byte == b';').next().unwrap_or_default();
        self.part = match number(size, 16) {
            Some(0) => Part::Trailers,
            // The chunk is followed by an end of line of its own.
            Some(size) => Part::Bytes(size.saturating_add(2), Next::ChunkSize),
            None => Part::Unwatched,
        };
    }

    fn request_ended(&mut self) {
        (self.part, self.begun, self.length) = (Part::Head, false, 0);
        (self.is_chunked, self.is_upgrade) = (false, false);
    }
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?.trim(), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the library is shown of these bytes, read in pieces of so many.
    fn shown(bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut framing = Framing::default();
        let mut bytes = bytes.to_vec();
        bytes.chunks_mut(piece).for_each(|piece| framing.look(piece));
        bytes
    }

    const GOOD: [&str; 5] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nPOST / HTTP/1.1\r\nContent-Length: 12\r\nHost: a\r\n\r\n{\n\"a\":\n\n 1}\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\n\n\n\n\n\n\r\n1\r\n\n\r\n0\r\nA: b\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length:\t0\r\nX-Long: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\n\n\r\n0\r\n\r\n",
    ];

    #[test]
    fn requests_with_whole_ends_of_line_pass() {
        for (piece, first) in (1..40).flat_map(|piece| GOOD.map(|first| (piece, first))) {
            for second in GOOD {
                let bytes = [first, second, first].concat();
                assert_eq!(shown(bytes.as_bytes(), piece), bytes.as_bytes(), "{piece}");
            }
        }
    }

    #[test]
    fn lone_line_feed_of_any_head_is_spoilt() {
        let heads = [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
        ];
        for (piece, head) in (1..40).flat_map(|piece| heads.map(|head| (piece, head))) {
            for before in ["", GOOD[0], GOOD[1], GOOD[2], GOOD[3], GOOD[4]] {
                let bytes = [before, head].concat().into_bytes();
                let shown = shown(&bytes, piece);
                let spoilt: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != shown[*at]).collect();
                assert!(
                    matches!(spoilt[..], [at] if at > before.len() && shown[at] == 0),
                    "{piece} {before} {head} {spoilt:?}"
                );
            }
        }
    }

    #[test]
    fn bytes_after_an_upgrade_pass() {
        let bytes = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\nframes\n";
        assert_eq!(shown(bytes, 7), bytes);
    }
}
