//! What a live channel says, on a terminal: an answer grows on its line until something else is said.

use super::{
    failure::Failure,
    terminal::{Terminal, Tone, clean},
};
use crate::client::LiveMessage;
use serde_json::{Value, json};

/// The line that an answer is being written on, if any.
#[derive(Debug, Default)]
pub(super) struct LiveLine {
    /// Turn and agent of the answer.
    of: Option<(String, String)>,
}

/// What to write for a message.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// Ends the line that is being written, then begins one for this speaker.
    Begin { speaker: String, text: String },
    /// Goes on with the line.
    More(String),
    /// A line of its own.
    Line(String),
}

impl LiveLine {
    /// Shows a message.
    pub(super) fn show(&mut self, terminal: &Terminal, message: &LiveMessage) -> Result<(), Failure> {
        let data: Value = serde_json::from_str(&message.data).unwrap_or_default();
        if terminal.json {
            return terminal.line(&json!({ "live": message.event, "data": data }).to_string());
        }
        match self.piece(&message.event, &data) {
            Piece::Begin { speaker, text } => {
                self.end_line(terminal)?;
                terminal.text(&format!("{} {text}", terminal.paint(Tone::Notice, &format!("{speaker}…"))))?;
            }
            Piece::More(text) => return terminal.text(&text),
            Piece::Line(text) => {
                self.end(terminal)?;
                return terminal.line(&terminal.paint(Tone::Faint, &text));
            }
        }
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        self.of = Some((text("turn"), text("agent")));
        Ok(())
    }

    /// Ends the line that is being written.
    pub(super) fn end(&mut self, terminal: &Terminal) -> Result<(), Failure> {
        self.end_line(terminal)?;
        self.of = None;
        Ok(())
    }

    fn end_line(&self, terminal: &Terminal) -> Result<(), Failure> {
        if self.of.is_some() && !terminal.json {
            return terminal.line("");
        }
        Ok(())
    }

    fn piece(&self, event: &str, data: &Value) -> Piece {
        let text = |name: &str| clean(data[name].as_str().unwrap_or_default());
        let yes = |name: &str| data[name].as_bool().unwrap_or_default();
        match event {
            // Index 0 after others: another attempt, which begins its text again.
            "delta" if self.of != Some((text("turn"), text("agent"))) || data["index"] == 0 => Piece::Begin {
                speaker: text("agent"),
                text: text("text"),
            },
            "delta" => Piece::More(text("text")),
            "typing" if yes("active") => Piece::Line(format!("{} is typing", text("principal"))),
            "typing" => Piece::Line(format!("{} stopped typing", text("principal"))),
            "presence" if yes("online") => Piece::Line(format!("{} is here", text("principal"))),
            "presence" => Piece::Line(format!("{} has left", text("principal"))),
            "dropped" => Piece::Line(format!("{} live messages were lost: this reader was too slow", data["count"])),
            other => Piece::Line(format!("{other}: {}", clean(&data.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_of_one_answer_share_a_line() {
        let mut line = LiveLine::default();
        let delta = |index: u64, text: &str| json!({ "turn": "t1", "agent": "scout", "index": index, "text": text });
        let begin = |text: &str| Piece::Begin {
            speaker: "scout".into(),
            text: text.into(),
        };
        assert_eq!(line.piece("delta", &delta(0, "Hel")), begin("Hel"));
        line.of = Some(("t1".into(), "scout".into()));
        assert_eq!(line.piece("delta", &delta(1, "lo")), Piece::More("lo".into()));
        assert_eq!(line.piece("delta", &delta(0, "Again")), begin("Again"));
        let other = json!({ "turn": "t2", "agent": "critic", "index": 4, "text": "No" });
        assert!(matches!(line.piece("delta", &other), Piece::Begin { .. }));
    }

    #[test]
    fn other_messages_have_lines_of_their_own() {
        let line = LiveLine::default();
        let typing = json!({ "principal": "ada", "active": true });
        assert_eq!(line.piece("typing", &typing), Piece::Line("ada is typing".into()));
        let dropped = json!({ "count": 3 });
        assert!(matches!(line.piece("dropped", &dropped), Piece::Line(text) if text.starts_with("3 live")));
    }
}
