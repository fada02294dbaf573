//! `quipu tail`.

use super::{
    connect::Connect,
    failure::Failure,
    kind::singular,
    live::LiveLine,
    terminal::{Terminal, Tone, clean, short},
};
use crate::client::{Client, ClientError, FeedLine, FeedQuery, Live, LiveMessage};
use clap::Args;
use quipu_schemas::ids::{EntityId, Kind, OrgId, StreamId};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

const AFTER: &str = "\
Examples:
  quipu tail acme                                          from now on
  quipu tail acme --from start --kind conversation
  quipu tail acme --kind run --id r-1 --from start --no-follow
  quipu tail acme --type quipu.conversation.message_posted.v1 | jq .data.body
  quipu tail acme --kind conversation --id c-1 --live      also what agents say while they say it, and who types
  quipu tail acme --from CURSOR                            resume where another tail ended

When the connection breaks, the tail reconnects and resumes where it was. In JSON, each line is a CloudEvent or a control
line with the cursor to resume from. If the log is damaged, everything readable is shown, and the exit code is 1.";

/// Follow an org's events
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Tail {
    /// The org
    org: OrgId,
    /// Where to begin: start, end, or a cursor
    #[arg(long, default_value = "end")]
    from: String,
    /// Only entities of this kind
    #[arg(long, value_parser = singular)]
    kind: Option<Kind>,
    /// Only the entity of this id
    #[arg(long)]
    id: Option<String>,
    /// Only events of these types, separated by commas
    #[arg(long = "type", value_name = "TYPES")]
    types: Option<String>,
    /// Exit after the last event so far
    #[arg(long)]
    no_follow: bool,
    /// Also show answers while they are written, and who types; this is never stored
    #[arg(long, requires = "kind", requires = "id", conflicts_with = "no_follow")]
    live: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Tail {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        const AGAIN: Duration = Duration::from_secs(1);
        let client = self.connect.client()?;
        let live = match (&self.kind, &self.id) {
            (Some(kind), Some(id)) if self.live => {
                let id = EntityId::parse(id.as_str()).map_err(|e| Failure::Usage(e.to_string()))?;
                Some(StreamId::new(self.org.clone(), kind.clone(), id))
            }
            _ => None,
        };
        let mut query = FeedQuery {
            from: Some(self.from),
            kind: self.kind.map(|kind| kind.to_string()),
            id: self.id,
            types: self.types,
            follow: !self.no_follow,
        };
        // Events since the last cursor, which a resume repeats.
        let mut shown = BTreeSet::new();
        let mut connected = false;
        loop {
            match follow(terminal, &client, &self.org, live.as_ref(), &mut query, &mut shown, &mut connected).await {
                Ok(Ended::CaughtUp) => return Ok(()),
                Ok(Ended::Broken) => {}
                Err(Trouble::Client(e @ ClientError::Unreachable { .. })) if connected && query.follow => {
                    terminal.note(&clean(&format!("{e}; trying again")))
                }
                Err(Trouble::Client(e)) => return Err(e.into()),
                Err(Trouble::Shown(failure)) => return Err(failure),
                Err(Trouble::Incomplete(what)) => return Err(Failure::Failed(format!("not everything can be shown: {what}"))),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

enum Ended {
    CaughtUp,
    Broken,
}

enum Trouble {
    Client(ClientError),
    Shown(Failure),
    /// Everything else was shown.
    Incomplete(String),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Trouble::Client(error)
    }
}

async fn follow(
    terminal: &Terminal,
    client: &Client,
    org: &OrgId,
    live: Option<&StreamId>,
    query: &mut FeedQuery,
    shown: &mut BTreeSet<String>,
    connected: &mut bool,
) -> Result<Ended, Trouble> {
    let mut feed = client.feed(org, query).await?;
    let mut said = match live {
        Some(stream) => Some(client.live(stream).await?),
        None => None,
    };
    let mut writing = LiveLine::default();
    *connected = true;
    let mut missing: Option<String> = None;
    let mut caught_up = false;
    loop {
        let line = tokio::select! {
            line = feed.next() => match line? {
                Some(line) => line,
                None => break,
            },
            message = next_said(&mut said) => {
                match message? {
                    Some(message) => writing.show(terminal, &message).map_err(Trouble::Shown)?,
                    // The node ends its channels as it ends its feeds, which tell.
                    None => said = None,
                }
                continue;
            }
        };
        writing.end(terminal).map_err(Trouble::Shown)?;
        match line.control() {
            None => {
                let id = line.value["id"].as_str().unwrap_or_default().to_owned();
                if shown.insert(id) {
                    show(terminal, &line).map_err(Trouble::Shown)?;
                }
            }
            Some(control) => {
                if let Some(cursor) = line.value["cursor"].as_str() {
                    query.from = Some(cursor.to_owned());
                    shown.clear();
                }
                if terminal.json && control != "heartbeat" {
                    terminal.json_text(&line.text).map_err(Trouble::Shown)?;
                }
                if let Some(what) = line.missing() {
                    terminal.note(&terminal.paint(Tone::Bad, &format!("{control}: {}", clean(&what))));
                    missing.get_or_insert(clean(&what));
                }
                caught_up |= control == "caught_up";
                if caught_up && missing.is_none() && !query.follow {
                    return Ok(Ended::CaughtUp);
                }
            }
        }
        if caught_up && let Some(what) = missing {
            return Err(Trouble::Incomplete(what));
        }
    }
    match missing {
        Some(what) => Err(Trouble::Incomplete(what)),
        None => Ok(Ended::Broken),
    }
}

/// The next message of a live channel; never, where there is none.
async fn next_said(live: &mut Option<Live>) -> Result<Option<LiveMessage>, ClientError> {
    match live {
        Some(live) => live.next().await,
        None => std::future::pending().await,
    }
}

fn show(terminal: &Terminal, line: &FeedLine) -> Result<(), Failure> {
    if terminal.json {
        return terminal.json_text(&line.text);
    }
    terminal.line(&event(terminal, line))
}

/// An event on one line.
pub(super) fn event(terminal: &Terminal, line: &FeedLine) -> String {
    const DATA_CHARS: usize = 110;
    let text = |name: &str| line.value.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = text("time").split('T').nth(1).unwrap_or_default();
    let name = line.event().trim_start_matches("quipu.").trim_end_matches(".v1");
    let by = Some(text("onbehalfof")).filter(|by| !by.is_empty()).unwrap_or(text("principal"));
    format!(
        "{} {} {} {} {}",
        terminal.paint(Tone::Faint, time),
        terminal.paint(Tone::Strong, name),
        clean(text("id")),
        terminal.paint(Tone::Notice, &clean(by)),
        terminal.paint(Tone::Faint, &short(&clean(&line.data().to_string()), DATA_CHARS)),
    )
}
