//! `quipu demo`.

use super::{failure::Failure, terminal::Terminal};
use crate::demo::{self, Answers, Play};
use clap::Args;
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  quipu demo                           plays the scene, then stays up for you to explore
  quipu demo --once                    ends after the scene; exit code 1 where anything did not hold
  quipu demo --data scene              keeps the data afterwards
  quipu demo --log 'nats://127.0.0.1:4222/scene?sync=always' --views postgres://quipu@127.0.0.1/quipu
  OPENAI_API_KEY=… quipu demo --provider openai --model gpt-4o-mini

The scene needs no network and no key: agents answer by the provider `scripted`, and every answer says so.";

/// See everything working: a node of its own, a story, a crash, a verified replay
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Demo {
    /// End after the scene
    #[arg(long)]
    once: bool,
    /// Who answers for the agents
    #[arg(long, value_enum, default_value = "scripted")]
    provider: Answers,
    /// The model's name, for --provider openai
    #[arg(long, default_value = "gpt-4o-mini", env = "OPENAI_MODEL")]
    model: String,
    /// Where to keep the data: an empty or new directory; a temporary one unless given
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where the log is, as for `quipu serve`; a broker's must be new, and is deleted afterwards unless --data is given
    #[arg(long, default_value = "embedded")]
    log: String,
    /// Where views are kept, as for `quipu serve`
    #[arg(long, default_value = "sqlite")]
    views: String,
}

impl Demo {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let play = Play {
            once: self.once,
            answers: self.provider,
            model: self.model,
            data: self.data,
            log: self.log,
            views: self.views,
        };
        demo::run(play, *terminal).await
    }
}
