//! The demo: everything at work in one scene, through the public HTTP API alone.
//!
//! The node is a real child process of this binary; it is killed in the middle and started again, and at the end its log
//! is replayed from zero and verified.

mod proof;
mod receiver;
mod scene;
mod witness;

use crate::{
    failure::Failure,
    stage::{error::StageError, off_thread, story::Story},
    terminal::Terminal,
    views_in::ViewsIn,
};
use quipu_events::backend::Backend;
use std::{fs, io, path::PathBuf};

/// Who answers for the agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Answers {
    /// Answers that follow from a script in the agents' directives; no network, no key
    Scripted,
    /// A real model: OPENAI_API_KEY or QUIPU_OPENAI_BASE_URL must be set
    Openai,
}

/// What is played.
#[derive(Debug, Clone)]
pub struct Play {
    /// End after the scene.
    pub once: bool,
    /// Who answers.
    pub answers: Answers,
    /// The model's name, for `openai`.
    pub model: String,
    /// Where the node keeps its data (empty or new); a temporary directory unless given.
    pub data: Option<PathBuf>,
    /// Where its log is, by name or address.
    pub log: String,
    /// Where its views are kept, by name or address.
    pub views: String,
}

/// A data directory that is deleted in the end, unless the person named it.
struct Home {
    path: PathBuf,
    temporary: bool,
}

impl Home {
    fn make(given: Option<PathBuf>) -> Result<Self, StageError> {
        if let Some(path) = given {
            fs::create_dir_all(&path)?;
            if fs::read_dir(&path)?.next().is_some() {
                let why = format!(
                    "{} is not empty: the scene begins with a new log; name another directory",
                    path.display()
                );
                return Err(Failure::Usage(why).into());
            }
            return Ok(Self { path, temporary: false });
        }
        let mut bytes = [0u8; 6];
        getrandom::fill(&mut bytes).map_err(|e| StageError::Scene(e.to_string()))?;
        let path = std::env::temp_dir().join(format!("quipu-demo-{}", hex::encode(bytes)));
        fs::create_dir(&path)?;
        Ok(Self { path, temporary: true })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be deleted stays where temporary files stay.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Plays the scene; an error or a promise that did not hold is a failure.
pub async fn run(play: Play, terminal: Terminal) -> Result<(), Failure> {
    if play.answers == Answers::Openai
        && ["OPENAI_API_KEY", "QUIPU_OPENAI_BASE_URL"]
            .iter()
            .all(|name| std::env::var_os(name).is_none())
    {
        return Err(Failure::Usage(
            "set OPENAI_API_KEY or QUIPU_OPENAI_BASE_URL for --provider openai, or use --provider scripted".into(),
        ));
    }
    let log: Backend = play.log.parse().map_err(|e| Failure::Usage(format!("{e}")))?;
    let _: ViewsIn = play.views.parse().map_err(|e| Failure::Usage(format!("{e}")))?;
    if matches!(log, Backend::Memory) {
        return Err(Failure::Usage("the scene kills its node: a log in memory would be gone".into()));
    }
    let home = Home::make(play.data.clone())?;
    must_be_new(&log).await?;
    let mut story = Story::new(terminal);
    let mut stage = tokio::select! {
        played = perform(&home, &play, &mut story) => played?,
        // What is dropped with the scene is the node, which ends with it.
        signal = ended_by_person() => {
            signal.map_err(StageError::from)?;
            return Err(Failure::Failed("ended before the scene was over".into()));
        }
    };
    if !play.once {
        explore(&mut stage, &story, &home).await?;
    }
    stage.close().await?;
    if home.temporary && log.is_on_broker() {
        off_thread(move || log.remove().map_err(|e| StageError::Scene(format!("the log was not deleted: {e}")))).await?;
    }
    if story.all_good() { Ok(()) } else { Err(Failure::Shown) }
}

/// A broker's log must have nothing in it yet.
async fn must_be_new(log: &Backend) -> Result<(), Failure> {
    if !log.is_on_broker() {
        return Ok(());
    }
    let (log, shown) = (log.clone(), log.to_string());
    let records = off_thread(move || proof::records(&log)).await?;
    if records > 0 {
        return Err(Failure::Usage(format!(
            "{shown} has {records} records: the scene begins with a new log; name another one in the address"
        )));
    }
    Ok(())
}

async fn perform(home: &Home, play: &Play, story: &mut Story) -> Result<scene::Stage, StageError> {
    let mut stage = scene::Stage::open(&home.path, play, story).await?;
    stage.play(story).await?;
    proof::prove(&mut stage, story).await?;
    story.sum_up()?;
    Ok(stage)
}

/// The next SIGINT or SIGTERM.
async fn ended_by_person() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! { result = tokio::signal::ctrl_c() => result, _ = terminate.recv() => Ok(()) }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// This binary as the person can type it.
fn own_name() -> String {
    let Ok(path) = std::env::current_exe() else { return "quipu".into() };
    let here = std::env::current_dir().unwrap_or_default();
    let shown = path
        .strip_prefix(&here)
        .map_or_else(|_| path.display().to_string(), |near| format!("./{}", near.display()));
    let on_path = std::env::var_os("PATH").is_some_and(|dirs| std::env::split_paths(&dirs).any(|dir| Some(dir.as_path()) == path.parent()));
    if on_path { "quipu".into() } else { shown }
}

/// Leaves the node up until the person ends it.
async fn explore(stage: &mut scene::Stage, story: &Story, home: &Home) -> Result<(), StageError> {
    let (own, data) = (own_name(), format!("--data {}", home.path.display()));
    story.act("Your turn")?;
    story.aside(&format!(
        "The node is up at {}. In another terminal, try:",
        stage.node()?.client.url()
    ))?;
    story.aside("")?;
    for command in stage.ideas() {
        story.aside(&format!("  {own} {command} {data}"))?;
    }
    story.aside("")?;
    let after = if home.temporary {
        "its data is then deleted"
    } else {
        "its data stays"
    };
    story.aside(&format!("Ctrl-C ends it; {after}."))?;
    tokio::select! {
        ended = stage.node_mut()?.ended() => Err(StageError::Scene(format!("the node ended by itself ({})", ended?))),
        signal = ended_by_person() => Ok(signal?),
    }
}
