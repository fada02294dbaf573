//! Transcripts into conversations, through the ordinary command path.
//!
//! One line of the file is one conversation: a JSON object whose `messages` are OpenAI chat messages; its `id` (or, without
//! one, the line's digest) names the conversation, its `title` is the conversation's, and other fields are passed over. Conversation, messages and commands
//! have ids that follow from the file alone, so a repetition finds its own commands decided and changes nothing: an import
//! that was cut off anywhere is resumed by running it again.

mod transcript;

pub use transcript::{BadLine, Transcript, parse};

use crate::client::{Client, ClientError, Command};
use futures::{StreamExt, stream};
use quipu_schemas::{
    ids::{CommandId, EntityId, Kind, OrgId, PrincipalId, StreamId},
    limits::{IMPORT_LINE_MAX_BYTES, IMPORT_PARALLEL},
    problem::Problem,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
    sync::atomic::{AtomicU64, Ordering},
};

/// Why an import stopped before the end of its file. Running it again resumes it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("reading the file: {0}")]
    Read(#[from] io::Error),
    /// The node cannot be reached, or refuses every conversation alike.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Conversations of the file that are complete in the log.
    pub conversations: u64,
    /// Conversations that this run created.
    pub conversations_created: u64,
    /// Messages that this run imported.
    pub imported: u64,
    /// Messages that were there already.
    pub already_there: u64,
    /// Lines that are not (wholly) in the log, by line number.
    pub bad_lines: Vec<BadLine>,
}

/// How far an import is, for a progress bar.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tick {
    /// Bytes of lines that are done.
    pub bytes: u64,
    /// Messages done, the ones already there included.
    pub messages: u64,
}

/// Where to, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// The org.
    pub org: OrgId,
    /// The principal who imports and owns the conversations; the token's own unless given.
    pub actor: Option<PrincipalId>,
}

#[derive(Default)]
struct Tally {
    bytes: AtomicU64,
    messages: AtomicU64,
}

#[derive(Default)]
struct Sent {
    created: bool,
    imported: u64,
    already: u64,
}

enum Read1 {
    Good(Transcript, u64),
    Bad(BadLine, u64),
}

/// Imports every line that `file` holds. `progress` hears of each message and each line.
pub async fn run(client: &Client, target: &Target, file: impl BufRead, progress: &(dyn Fn(Tick) + Sync)) -> Result<Report, ImportError> {
    let tally = Tally::default();
    let tell = |bytes: u64, messages: u64| {
        let bytes = tally.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let messages = tally.messages.fetch_add(messages, Ordering::Relaxed) + messages;
        progress(Tick { bytes, messages });
    };
    let mut work = stream::iter(read_lines(file))
        .map(|line| async {
            match line? {
                Read1::Bad(bad, bytes) => {
                    tell(bytes, 0);
                    Ok((Sent::default(), Some(bad)))
                }
                Read1::Good(transcript, bytes) => {
                    let done = send(client, target, &transcript, &|| tell(0, 1)).await;
                    tell(bytes, 0);
                    done
                }
            }
        })
        .buffer_unordered(IMPORT_PARALLEL);
    let mut report = Report::default();
    while let Some(done) = work.next().await {
        let (sent, bad): (Sent, Option<BadLine>) = done?;
        report.conversations_created += u64::from(sent.created);
        report.imported += sent.imported;
        report.already_there += sent.already;
        match bad {
            Some(bad) => report.bad_lines.push(bad),
            None => report.conversations += 1,
        }
    }
    drop(work);
    report.bad_lines.sort_by_key(|bad| bad.line);
    Ok(report)
}

/// Parsed lines, one at a time; blank ones are passed over, repeated ids refused.
fn read_lines(mut file: impl BufRead) -> impl Iterator<Item = Result<Read1, ImportError>> {
    let mut seen: BTreeMap<EntityId, u64> = BTreeMap::new();
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            number += 1;
            let mut text = Vec::new();
            let read = match file.by_ref().take(IMPORT_LINE_MAX_BYTES as u64 + 1).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(read) => read as u64,
                Err(e) => return Some(Err(e.into())),
            };
            let bad = |reason: String| Some(Ok(Read1::Bad(BadLine { line: number, reason }, read)));
            if text.len() > IMPORT_LINE_MAX_BYTES {
                // What is left of the line must not be taken for the next one.
                let rest = file.skip_until(b'\n').map(|_| ());
                if let Err(e) = rest {
                    return Some(Err(e.into()));
                }
                return bad(format!("the line is longer than {IMPORT_LINE_MAX_BYTES} bytes"));
            }
            // Some editors begin a file with a mark of its encoding, which does not belong to the first line.
            let line = text.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&text);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let transcript = match parse(number, line) {
                Ok(transcript) => transcript,
                Err(reason) => return bad(reason),
            };
            if let Some(earlier) = seen.insert(transcript.conversation.clone(), number) {
                seen.insert(transcript.conversation.clone(), earlier);
                return bad(format!("line {earlier} has the id {} already", transcript.conversation));
            }
            return Some(Ok(Read1::Good(transcript, read)));
        }
    })
}

fn command_id(conversation: &EntityId, number: usize) -> CommandId {
    CommandId::parse(format!("import:{conversation}:{number}")).expect("an id with digits and colons is a command id")
}

/// A refusal that every other line would get too.
fn concerns_all(problem: &Problem) -> bool {
    problem.is_unavailable() || matches!(problem.status, 401 | 403 | 404)
}

/// Sends one conversation in order, each message after the receipt of the one before.
async fn send(
    client: &Client,
    target: &Target,
    transcript: &Transcript,
    sent_one: &(dyn Fn() + Sync),
) -> Result<(Sent, Option<BadLine>), ImportError> {
    let conversation = &transcript.conversation;
    let stream = StreamId::new(target.org.clone(), Kind::CONVERSATION, conversation.clone());
    let command = |name: &str, number: usize, body| {
        Command::to(&stream, name, body)
            .id(command_id(conversation, number))
            .on_behalf_of(target.actor.as_ref())
    };
    let mut sent = Sent::default();
    let bad = |at: String, problem: &Problem| {
        Some(BadLine {
            line: transcript.line,
            reason: format!("{at}: {problem}"),
        })
    };
    // Two sides, and nobody of them is an agent that could answer: this happened long ago.
    let create = json!({
        "type": "private",
        "title": transcript.title,
        "participants": [{ "principal": "assistant", "kind": "agent" }],
        "auto_turns": false,
    });
    match client.command(&command("create", 0, create)).await {
        Ok(receipt) => sent.created = !receipt.duplicate && !receipt.unchanged,
        Err(ClientError::Refused(problem)) if !concerns_all(&problem) => {
            return Ok((sent, bad(format!("conversation {conversation}"), &problem)));
        }
        Err(e) => return Err(e.into()),
    }
    for (at, message) in transcript.messages.iter().enumerate() {
        match client.command(&command("import_message", at + 1, message.clone())).await {
            Ok(receipt) if receipt.duplicate || receipt.unchanged => sent.already += 1,
            Ok(_) => sent.imported += 1,
            Err(ClientError::Refused(problem)) if !concerns_all(&problem) => return Ok((sent, bad(format!("messages[{at}]"), &problem))),
            Err(e) => return Err(e.into()),
        }
        sent_one();
    }
    Ok((sent, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_as_an_editor_does_and_ids_are_taken_once() {
        let good = r#"{"id":"a","messages":[{"role":"user","content":"x"}]}"#;
        let file = format!("{good}\n\nnonsense\n{good}\n{{\"id\":\"b\",\"messages\":[7]}}");
        let read: Vec<_> = read_lines(file.as_bytes())
            .map(|line| match line.unwrap() {
                Read1::Good(transcript, _) => (transcript.line, None),
                Read1::Bad(bad, _) => (bad.line, Some(bad.reason)),
            })
            .collect();
        assert_eq!(read[0], (1, None));
        assert!(read[1].0 == 3 && read[1].1.as_ref().unwrap().contains("not JSON"), "{read:?}");
        assert!(
            read[2].0 == 4 && read[2].1.as_ref().unwrap().contains("line 1 has the id a"),
            "{read:?}"
        );
        assert_eq!((read[3].0, read.len()), (5, 4));
        assert!(read[3].1.as_ref().unwrap().contains("messages[0]"), "{read:?}");
    }

    #[test]
    fn a_byte_order_mark_and_line_ends_of_windows_are_passed_over() {
        let rest = r#""messages":[{"role":"user","content":"x"}]}"#;
        let (plain, windows) = (
            format!("{{{rest}\n{{\"id\":\"b\",{rest}\n"),
            format!("\u{feff}{{{rest}\r\n{{\"id\":\"b\",{rest}\r\n"),
        );
        let ids = |file: &str| -> Vec<String> {
            read_lines(file.as_bytes())
                .map(|line| match line.unwrap() {
                    Read1::Good(transcript, _) => transcript.conversation.to_string(),
                    Read1::Bad(bad, _) => bad.reason,
                })
                .collect()
        };
        assert_eq!(ids(&windows), ids(&plain));
        assert_eq!(ids("\u{feff}\r\n"), Vec::<String>::new());
        assert!(
            ids(&format!("{{{rest}\n\u{feff}{{{rest}"))[1].contains("not JSON"),
            "only a file begins with one"
        );
    }
}
