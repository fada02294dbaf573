//! `quipu import` and `quipu export`.

use super::{
    connect::Connect,
    failure::Failure,
    kind::singular,
    terminal::{Terminal, Tone, clean},
};
use crate::{
    client::FeedQuery,
    export::{self, ExportError},
    import::{self, ImportError, Report, Target, Tick},
    problems::not_found,
};
use clap::{Args, ValueEnum};
use quipu_schemas::ids::{Kind, OrgId, PrincipalId};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::PathBuf,
};

const IMPORT_AFTER: &str = "\
Examples:
  quipu import --format openai-chat chats.jsonl --org acme --as ada
  zcat chats.jsonl.gz | quipu import --format openai-chat - --org acme

Each line is a JSON object with `messages` (OpenAI chat messages, tool calls included) and, if you like, an `id`,
which names the conversation, and a `title`; other fields are ignored. Ids depend on the file alone: running
the same import again changes nothing, and resumes one that was interrupted. Content that is null stays apart from
content that is empty; any other field of a message that is null or an empty list is the same as absent. A line with
anything that could not be kept (an unknown field, a field given twice, a number of more than 64 bits) is reported,
and nothing of it is sent.";

const EXPORT_AFTER: &str = "\
Examples:
  quipu export acme > events.ndjson
  quipu export acme --kind run --id r-1
  quipu export acme --format openai-chat --out chats.jsonl
  quipu export acme --format openai-chat --id c-1

In openai-chat, each line has the conversation's id, its title if it has one, and its messages; a message that was posted
names its sender in `name`. `quipu import` takes such a file.

The exit code is 3 if --id or --kind matches nothing, and 1 if not everything could be written: the log is damaged, or messages
of a transcript were erased or cannot be opened with the node's keys (these are marked `\"quipu_erased\": true`; --allow-erased makes that a success).";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ImportFormat {
    /// JSONL, one conversation a line, OpenAI chat messages
    OpenaiChat,
}

/// Import transcripts as conversations, through the ordinary command path
#[derive(Debug, Args)]
#[command(after_help = IMPORT_AFTER)]
pub(super) struct Import {
    /// Form of the file
    #[arg(long, value_enum)]
    format: ImportFormat,
    /// The file, or - for standard input
    file: PathBuf,
    /// The org that the conversations go to
    #[arg(long, env = "QUIPU_ORG")]
    org: OrgId,
    /// On whose behalf; owns the conversations
    #[arg(long = "as", value_name = "PRINCIPAL", env = "QUIPU_ON_BEHALF_OF")]
    actor: Option<PrincipalId>,
    #[command(flatten)]
    connect: Connect,
}

impl Import {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let ImportFormat::OpenaiChat = self.format;
        let client = self.connect.client()?;
        let unreadable = |e: io::Error| Failure::Failed(format!("{}: {e}", self.file.display()));
        let (file, bytes): (Box<dyn BufRead>, Option<u64>) = if self.file.as_os_str() == "-" {
            (Box::new(BufReader::new(io::stdin())), None)
        } else {
            let file = File::open(&self.file).map_err(unreadable)?;
            let bytes = file.metadata().map_err(unreadable)?.len();
            (Box::new(BufReader::new(file)), Some(bytes))
        };
        let bar = terminal.progress(bytes, "{bar:30} {percent:>3}%  {msg}  {elapsed}");
        let begun = std::time::Instant::now();
        let tell = |tick: Tick| {
            bar.set_position(tick.bytes);
            let rate = tick.messages as f64 / begun.elapsed().as_secs_f64().max(0.001);
            bar.set_message(format!("{} messages, {rate:.0}/s", tick.messages));
        };
        let target = Target {
            org: self.org,
            actor: self.actor,
        };
        let result = import::run(&client, &target, file, &tell).await;
        bar.finish_and_clear();
        let report = result.map_err(|e| match e {
            ImportError::Client(e) => {
                terminal.note("the import stopped; run it again, and it resumes where it was");
                Failure::from(e)
            }
            ImportError::Read(e) => Failure::Failed(e.to_string()),
        })?;
        show(terminal, &report, begun.elapsed().as_secs_f64())?;
        if report.bad_lines.is_empty() { Ok(()) } else { Err(Failure::Shown) }
    }
}

fn show(terminal: &Terminal, report: &Report, seconds: f64) -> Result<(), Failure> {
    if terminal.json {
        return terminal.value(report);
    }
    for bad in &report.bad_lines {
        terminal.line(&format!(
            "{} {}",
            terminal.paint(Tone::Bad, &format!("line {}:", bad.line)),
            clean(&bad.reason)
        ))?;
    }
    let rate = (report.imported + report.already_there) as f64 / seconds.max(0.001);
    let rows = [
        ("conversations", report.conversations),
        ("  of them new", report.conversations_created),
        ("messages imported", report.imported),
        ("messages already there", report.already_there),
        ("lines with problems", report.bad_lines.len() as u64),
    ];
    terminal.table(&["import", ""], &rows.map(|(name, n)| vec![name.to_owned(), n.to_string()]), "")?;
    terminal.line(&terminal.paint(Tone::Faint, &format!("{seconds:.1} s, {rate:.0} messages/s")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// Every event, one CloudEvent a line
    Cloudevents,
    /// Every conversation, one transcript a line
    OpenaiChat,
}

/// Export events or conversations as lines of JSON
#[derive(Debug, Args)]
#[command(after_help = EXPORT_AFTER)]
pub(super) struct Export {
    /// The org
    #[arg(env = "QUIPU_ORG")]
    org: OrgId,
    /// What to write
    #[arg(long, value_enum, default_value = "cloudevents")]
    format: ExportFormat,
    /// Only entities of this kind
    #[arg(long, value_parser = singular)]
    kind: Option<Kind>,
    /// Only the entity of this id
    #[arg(long)]
    id: Option<String>,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with code 0 even if messages are erased, or cannot be opened with the node's keys
    #[arg(long)]
    allow_erased: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Export {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        if self.format == ExportFormat::OpenaiChat && self.kind.as_ref().is_some_and(|kind| *kind != Kind::CONVERSATION) {
            return Err(Failure::Usage("only conversations can be written as openai-chat".into()));
        }
        let client = self.connect.client()?;
        let mut out: Box<dyn Write> = match &self.out {
            Some(path) => Box::new(BufWriter::new(
                File::create(path).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?,
            )),
            None => Box::new(BufWriter::new(io::stdout())),
        };
        let (mut erased, mut written) = (0, 0);
        let sought = match (&self.kind, &self.id) {
            (Some(kind), Some(id)) => Some(format!("{kind} {id} in org {}", self.org)),
            (None, Some(id)) => Some(format!("entity {id} in org {}", self.org)),
            (Some(kind), None) => Some(format!("event of a {kind} in org {}", self.org)),
            (None, None) => None,
        };
        let said = match self.format {
            ExportFormat::Cloudevents => {
                let query = FeedQuery {
                    kind: self.kind.map(|kind| kind.to_string()),
                    id: self.id,
                    ..FeedQuery::default()
                };
                export::cloudevents(&client, &self.org, &query, &mut out).await.map(|events| {
                    written = events;
                    format!("{events} events")
                })
            }
            ExportFormat::OpenaiChat => export::chats(&client, &self.org, self.id.as_deref(), &mut out).await.map(|done| {
                (erased, written) = (done.erased, done.conversations);
                format!("{} conversations, {} messages", done.conversations, done.messages)
            }),
        };
        let said = said.map_err(|e| match e {
            ExportError::Client(e) => e.into(),
            ExportError::Write(e) => Failure::of_write(e),
            ExportError::Event(..) => Failure::Failed(e.to_string()),
        })?;
        if let Some(sought) = sought.filter(|_| written == 0) {
            return Err(Failure::Problem(Box::new(not_found(sought))));
        }
        terminal.note(&terminal.paint(Tone::Faint, &said));
        if erased == 0 {
            return Ok(());
        }
        let lost = format!(
            "{erased} messages were erased, or cannot be opened with the keys of this node: they are written as \"{}\":true with \"content\":null",
            export::ERASED
        );
        if self.allow_erased {
            terminal.note(&terminal.paint(Tone::Notice, &lost));
            return Ok(());
        }
        Err(Failure::Failed(format!("{lost} (--allow-erased makes that a success)")))
    }
}
