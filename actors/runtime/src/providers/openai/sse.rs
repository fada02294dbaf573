//! Server-sent events (WHATWG HTML §9.2) out of a byte stream cut anywhere.

use quipu_schemas::limits::SSE_EVENT_MAX_BYTES;

/// An event or line larger than [`SSE_EVENT_MAX_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is larger than {SSE_EVENT_MAX_BYTES} bytes")]
pub(crate) struct TooLarge;

/// Parses bytes into the `data` of events; other fields and comments are passed over.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

impl SseParser {
    /// Takes the next bytes; returns the data of every event that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLarge> {
        let mut events = Vec::new();
        for &byte in bytes {
            // CR, LF and CRLF each end a line, also where CR and LF come in two reads.
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > SSE_EVENT_MAX_BYTES {
                return Err(TooLarge);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<String> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
        }
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then(|| String::from_utf8_lossy(&data).into_owned());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (&line[..], &b""[..]),
        };
        if field == b"data" {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &str =
        "\u{feff}: hello\r\ndata: one\r\n\r\nevent: x\nid: 7\ndata: zwei äöü\ndata:drei\n\ndata\n\ndata: {\"a\":1}\r\r: end\n\n";

    #[test]
    fn every_cut_gives_the_same_events() {
        let bytes = WIRE.as_bytes();
        let expected = ["one", "zwei äöü\ndrei", "", "{\"a\":1}"];
        for size in 1..=bytes.len() {
            let mut parser = SseParser::default();
            let events: Vec<String> = bytes.chunks(size).flat_map(|chunk| parser.push(chunk).unwrap()).collect();
            assert_eq!(events, expected, "chunks of {size}");
        }
    }

    #[test]
    fn an_unfinished_event_is_not_one_and_an_endless_one_is_refused() {
        let mut parser = SseParser::default();
        assert_eq!(parser.push(b"data: half\n"), Ok(vec![]));
        let endless = vec![b'x'; SSE_EVENT_MAX_BYTES + 1];
        assert_eq!(parser.push(&endless), Err(TooLarge));
    }
}
