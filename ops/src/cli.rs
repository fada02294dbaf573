//! The command line: what can be asked, and who answers it. Everything that talks to a node goes through its public API.

mod account;
mod audit;
mod backup;
mod bench;
mod cluster;
mod columns;
mod completions;
mod connect;
mod data;
mod demo;
mod dev_cluster;
mod diff;
mod get;
mod import;
mod invites;
mod keys;
mod kind;
mod live;
mod login;
mod migrate;
mod ops;
mod outbox;
mod replay;
mod report;
mod send;
mod serve;
mod tail;
mod verify;
mod verify_backend;
mod views;

use crate::{
    failure::{self, Failure, code},
    terminal::{self, Output, Terminal},
};
use clap::{Parser, Subcommand};
use std::{ffi::OsString, process::ExitCode};

const ABOUT: &str = "Event-sourced actors for AI agents: publish commands, subscribe to events, query views, replay the log.";

/// What a report of a fault should name.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("BUILT_FROM_COMMIT"),
    ")\nfeatures: ",
    env!("BUILT_WITH_FEATURES"),
    "\nformats: record 1, frame 1, index 1, snapshot 1"
);

const AFTER: &str = "\
Examples:
  quipu demo --once                                     the whole story in a minute, without network or keys
  quipu serve                                           a node on loopback, its data in ./quipu-data
  quipu send acme org acme create '{\"name\":\"Acme\"}'
  quipu tail acme --from start
  quipu replay acme org acme --version 1
  quipu verify quipu-data

A client finds its node by --url or QUIPU_URL, else by the file `address` in the data directory. It acts by QUIPU_TOKEN, else as
whoever is logged in there (quipu login), else by the node's own token, in the file `token` of the data directory.

Exit codes: 0 done; 1 failed, damaged or not equal; 2 usage; 3 refused by the node (4xx); 4 unavailable, try again.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "quipu", version, long_version = LONG_VERSION, about = ABOUT, after_help = AFTER, max_term_width = 110)]
pub struct Cli {
    /// The form of the answer [default: table on a terminal, json elsewhere]
    #[arg(long, global = true, value_enum, value_name = "FORM")]
    output: Option<Output>,
    /// Short for --output json
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a node
    Serve(serve::Serve),
    /// See everything working: a node of its own, a story, a crash, a verified replay
    Demo(demo::Demo),
    /// Log in at a node, as a person with an account there
    Login(login::Login),
    /// End the session that `quipu login` began
    Logout(login::Logout),
    /// See who you are at a node
    Whoami(login::Whoami),
    /// Lost passwords and addresses: ask for a letter, use its code, or make a link by the node's own token
    #[command(subcommand)]
    Account(account::Account),
    /// Ask people into an org, see who was asked, and join
    #[command(subcommand)]
    Invites(invites::Invites),
    /// See, make, renew and end the API keys of an org
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Send a command to an entity
    Send(send::Send),
    /// Query views: lists, rows, parts
    Get(get::Get),
    /// See who did what in an org, by what, and who was refused
    Audit(audit::Audit),
    /// Follow an org's events
    Tail(tail::Tail),
    /// Show an entity's state at any version or time, or what changed between two
    Replay(replay::Replay),
    /// Verify a log offline: every checksum, hash and chain
    Verify(verify::Verify),
    /// Certify a broker for the log: the contract suite against live servers
    VerifyBackend(verify_backend::VerifyBackend),
    /// Rebuild, verify or watch the views
    #[command(subcommand)]
    Views(views::Views),
    /// See and repair effects that have not been delivered
    #[command(subcommand)]
    Outbox(outbox::Outbox),
    /// See the nodes of a cluster, and who owns which partition
    Cluster(cluster::Cluster),
    /// Try failover: three nodes on one log, killed, stopped and paused while commands go on
    DevCluster(dev_cluster::DevCluster),
    /// See the supervision tree and health; resume parked streams
    #[command(subcommand)]
    Ops(ops::Ops),
    /// Back up a data directory
    Backup(backup::Backup),
    /// Restore a data directory from a backup, under a new generation
    Restore(backup::Restore),
    /// Copy an embedded log to a broker
    MigrateLog(migrate::MigrateLog),
    /// Import transcripts as conversations
    Import(import::Import),
    /// Export events or conversations
    Export(import::Export),
    /// Measure this machine and this build
    Bench(bench::Bench),
    /// Completions for a shell, and manual pages
    #[command(subcommand)]
    Shell(completions::Shell),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs a command line.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; the rest is usage. If nobody reads the output, that is not a failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { code::USAGE } else { code::OK });
        }
    };
    let asked = cli.output.or(cli.json.then_some(Output::Json));
    let mut terminal = Terminal::detect(asked);
    if matches!(cli.verb, Verb::Demo(_)) {
        // A story is for people, piped or not; JSON only where it was asked for.
        terminal.json = asked.is_some_and(|asked| asked != Output::Table);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return Failure::Failed(format!("no runtime: {e}")).report(&terminal),
    };
    match runtime.block_on(cli.verb.run(&terminal)) {
        Ok(()) => ExitCode::from(code::OK),
        Err(failure) => failure.report(&terminal),
    }
}

impl Verb {
    async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Verb::Serve(verb) => verb.run(terminal).await,
            Verb::Demo(verb) => verb.run(terminal).await,
            Verb::Login(verb) => verb.run(terminal).await,
            Verb::Logout(verb) => verb.run(terminal).await,
            Verb::Whoami(verb) => verb.run(terminal).await,
            Verb::Account(verb) => verb.run(terminal).await,
            Verb::Invites(verb) => verb.run(terminal).await,
            Verb::Keys(verb) => verb.run(terminal).await,
            Verb::Send(verb) => verb.run(terminal).await,
            Verb::Get(verb) => verb.run(terminal).await,
            Verb::Audit(verb) => verb.run(terminal).await,
            Verb::Tail(verb) => verb.run(terminal).await,
            Verb::Replay(verb) => verb.run(terminal).await,
            Verb::Verify(verb) => verb.run(terminal).await,
            Verb::Views(verb) => verb.run(terminal).await,
            Verb::Outbox(verb) => verb.run(terminal).await,
            Verb::Cluster(verb) => verb.run(terminal).await,
            Verb::DevCluster(verb) => verb.run(terminal).await,
            Verb::VerifyBackend(verb) => verb.run(terminal).await,
            Verb::MigrateLog(verb) => verb.run(terminal).await,
            Verb::Ops(verb) => verb.run(terminal).await,
            Verb::Backup(verb) => verb.run(terminal).await,
            Verb::Restore(verb) => verb.run(terminal).await,
            Verb::Import(verb) => verb.run(terminal).await,
            Verb::Export(verb) => verb.run(terminal).await,
            Verb::Bench(verb) => verb.run(terminal).await,
            Verb::Shell(verb) => verb.run(terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_help_has_examples() {
        fn examples(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.get_name() == "help" {
                return;
            }
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Examples:"), "`{path} --help` has no examples");
            command.get_subcommands().for_each(|sub| examples(sub, &path));
        }
        Cli::command().debug_assert();
        examples(&Cli::command(), "");
    }

    /// The words of a command line as a shell parts them; what stands apart behind it is said about it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        let mut spaces = 0;
        for c in line.chars() {
            spaces = if c == ' ' { spaces + 1 } else { 0 };
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                ('\'' | '"', None) => quote = Some(c),
                (' ', None) if spaces > 1 => break,
                (' ', None) => words.push(std::mem::take(&mut word)),
                ('|' | '>' | '#' | ';' | '&', None) if word.is_empty() => break,
                _ => word.push(c),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        words
    }

    fn is_parsed(line: &str) -> Result<(), String> {
        let parsed = Cli::command().try_get_matches_from(words(line));
        parsed.map(|_| ()).map_err(|error| format!("{line}\n{error}"))
    }

    #[test]
    fn every_example_of_the_help_is_a_command_that_exists() {
        fn lines(command: &clap::Command, found: &mut Vec<String>) {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            // An example is a line of its own, with what is set for it alone before it.
            found.extend(after.lines().filter_map(|line| {
                let (before, command) = line.trim().split_once("quipu ")?;
                let is_example = before.split_whitespace().all(|word| word.contains('='));
                is_example.then(|| format!("quipu {command}"))
            }));
            command.get_subcommands().for_each(|sub| lines(sub, found));
        }
        let mut found = Vec::new();
        lines(&Cli::command(), &mut found);
        assert!(found.len() > 50, "{found:?}");
        let wrong: Vec<String> = found.iter().filter_map(|line| is_parsed(line).err()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn letters_name_commands_that_take_their_codes() {
        use quipu_schemas::mail::MailPurpose;
        for purpose in [MailPurpose::VerifyAddress, MailPurpose::ResetPassword, MailPurpose::Invite] {
            is_parsed(&format!("{} qpi_1", quipu_runtime::performers::letter_verb(purpose))).unwrap();
        }
        is_parsed("quipu account forgot").unwrap_err();
    }
}
