//! The end of the scene: everything that was shown is checked against the log alone.

use super::scene::{QUESTION, Stage};
use crate::{
    client::jobs::finish_views_job,
    stage::{error::StageError, off_thread, story::Story},
};
use quipu_events::{backend::Backend, disk::RealDisk, embedded::LOG_DIR, port::Log, verify};
use quipu_runtime::{
    kinds::Kinds,
    replay::{self, Replayed},
};
use quipu_schemas::{
    ids::{Kind, StreamId},
    limits,
    position::LogId,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Instant,
};

/// Every entity's version and digest.
type States = BTreeMap<StreamId, (u64, String)>;

/// Replays, compares, verifies, and leaves the node running on a log whose derived files were deleted.
pub(super) async fn prove(stage: &mut Stage, story: &mut Story) -> Result<(), StageError> {
    story.act("The proof: from the log alone")?;
    let begun = Instant::now();
    let job = finish_views_job(&stage.node()?.client, "verify", |_| {}).await?;
    let equal = job["equal"] == Value::Bool(true);
    say(story, equal, "every view equals a rebuild from zero, table by table")?;
    story.note(
        "views = rebuild from zero",
        if equal { "equal digests".into() } else { job["detail"].to_string() },
        Some(begun.elapsed()),
        equal,
    );

    let before = states(stage).await?;
    let node = stage.take_node()?;
    node.stop().await?;
    story.tell("the node is stopped in order")?;
    replay_and_compare(stage, story, &before).await?;
    chain(stage, story).await?;
    derived_files(stage, story, &before).await
}

fn say(story: &Story, good: bool, text: &str) -> Result<(), StageError> {
    if good {
        story.proven(text)?
    } else {
        story.warn(&format!("NOT: {text}"))?
    };
    Ok(())
}

/// Asks the node for the state of every entity that the feed told of.
async fn states(stage: &mut Stage) -> Result<States, StageError> {
    let keys: BTreeSet<String> = stage
        .witness()?
        .events
        .iter()
        .filter_map(|event| event.value["partitionkey"].as_str().map(str::to_owned))
        .collect();
    let client = stage.node()?.client.clone();
    let mut out = States::new();
    for key in keys {
        let stream: StreamId = key
            .parse()
            .map_err(|e: quipu_schemas::ids::BadId| StageError::Scene(e.to_string()))?;
        if stream.kind == Kind::DENIAL {
            continue;
        }
        let found = client.get(&format!("{}/state", stream.path()), &[]).await?.body;
        let digest = found["digest"].as_str().unwrap_or_default().to_owned();
        out.insert(stream, (found["version"].as_u64().unwrap_or_default(), digest));
    }
    Ok(out)
}

/// The stopped node's log.
fn open(backend: &Backend, data: Option<&Path>) -> Result<Arc<dyn Log>, StageError> {
    let opened = backend
        .open(data, limits::PARTITIONS_DEFAULT, LogId([0; 16]))
        .map_err(|e| StageError::Scene(e.to_string()))?;
    Ok(opened.log)
}

/// How many records a broker's log has.
pub(super) fn records(backend: &Backend) -> Result<u64, StageError> {
    let log = open(backend, None)?;
    let ends = (0..log.meta().partitions).map(|partition| log.head(partition).map(|head| head.next_offset));
    ends.sum::<Result<u64, _>>().map_err(|e| StageError::Scene(e.to_string()))
}

async fn replay_and_compare(stage: &Stage, story: &mut Story, before: &States) -> Result<(), StageError> {
    let begun = Instant::now();
    let (backend, data) = (stage.log.clone(), stage.data.clone());
    let replayed: Vec<Replayed> = off_thread(move || {
        let log = open(&backend, Some(&data))?;
        replay::replay(&*log, &Kinds::builtin(), |_| {}).map_err(|e| StageError::Scene(e.to_string()))
    })
    .await?;
    let records: u64 = replayed.iter().map(|entity| entity.records).sum();
    let from_log: States = replayed
        .into_iter()
        // What was refused is written down when the node stops.
        .filter(|e| e.version > 0 && e.stream.kind != Kind::DENIAL)
        .map(|e| (e.stream, (e.version, e.digest.to_string())))
        .collect();
    let equal = from_log == *before;
    say(
        story,
        equal,
        &format!(
            "{records} records replayed from zero give the very states that the node had, {} of {}",
            same(&from_log, before),
            before.len()
        ),
    )?;
    let result = format!("{} entities, {records} records, equal digests", before.len());
    story.note(
        "states = replay from zero",
        if equal { result } else { "digests differ".into() },
        Some(begun.elapsed()),
        equal,
    );
    Ok(())
}

fn same(a: &States, b: &States) -> usize {
    a.iter().filter(|(stream, state)| b.get(stream) == Some(state)).count()
}

async fn chain(stage: &Stage, story: &mut Story) -> Result<(), StageError> {
    let begun = Instant::now();
    let (backend, data) = (stage.log.clone(), stage.data.clone());
    let report = off_thread(move || {
        if backend.is_on_broker() {
            return Ok(verify::verify_log(&*open(&backend, Some(&data))?, |_, _| {}));
        }
        verify::verify(&RealDisk, &data, |_, _| {}).map_err(|e| StageError::Scene(e.to_string()))
    })
    .await?;
    let good = report.is_intact();
    say(
        story,
        good,
        &format!(
            "the chain is intact: {} frames, {} records, {} events, {} heads",
            report.frames, report.records, report.events, report.heads
        ),
    )?;
    for problem in &report.problems {
        story.warn(&format!("{}, byte {}: {}", problem.file.display(), problem.byte, problem.detail))?;
    }
    let result = format!(
        "{} records in {} frames, digest {}…",
        report.records,
        report.frames,
        report.digest.get(..12).unwrap_or_default()
    );
    story.note("the chain verifies", result, Some(begun.elapsed()), good);

    let (backend, data) = (stage.log.clone(), stage.data.clone());
    let found = off_thread(move || match backend.is_on_broker() {
        true => frames_hold(&*open(&backend, Some(&data))?, QUESTION.as_bytes()),
        false => Ok(holds(&data.join(LOG_DIR), QUESTION.as_bytes())?),
    })
    .await?;
    say(story, !found, "the words of the conversation are nowhere in the log in the clear")?;
    story.note(
        "personal data is sealed",
        if found {
            "found in the clear"
        } else {
            "no word of it in the log's files"
        },
        None,
        !found,
    );
    Ok(())
}

/// Whether a file of the directory holds these bytes.
fn holds(directory: &Path, words: &[u8]) -> std::io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let bytes = fs::read(entry?.path())?;
        // Segments are reserved ahead: most of a young log is zeros.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if bytes[..written].windows(words.len()).any(|window| window == words) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a record of a broker's log holds these bytes.
fn frames_hold(log: &dyn Log, words: &[u8]) -> Result<bool, StageError> {
    for partition in 0..log.meta().partitions {
        let mut from = 0;
        loop {
            let frames = log
                .read(partition, from, limits::FRAME_MAX_BYTES)
                .map_err(|e| StageError::Scene(e.to_string()))?;
            let Some(last) = frames.last() else { break };
            from = last.first_offset + last.records.len() as u64;
            if frames
                .iter()
                .flat_map(|frame| &frame.records)
                .any(|(_, bytes)| bytes.windows(words.len()).any(|window| window == words))
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Law 1: what is not log, blobs or keys can be deleted, and nothing is lost, repeated or different.
async fn derived_files(stage: &mut Stage, story: &mut Story, before: &States) -> Result<(), StageError> {
    let delivered = stage.receiver.received().deliveries;
    let mut deleted = Vec::new();
    for entry in fs::read_dir(&stage.data)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("index") || name.starts_with("views") || name.starts_with("snapshots") {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?
            } else {
                fs::remove_file(entry.path())?
            };
            deleted.push(name);
        }
    }
    deleted.sort();
    stage.start_again().await?;
    let started_in = stage.node()?.started_in;
    story.tell(&format!(
        "deleted {}; node {} starts on what is left",
        deleted.join(", "),
        stage.node()?.pid
    ))?;
    let after = states(stage).await?;
    let job = finish_views_job(&stage.node()?.client, "verify", |_| {}).await?;
    let repeated = stage.receiver.received().deliveries - delivered;
    let good = after == *before && job["equal"] == Value::Bool(true) && repeated == 0;
    say(
        story,
        good,
        "index, views and snapshots are rebuilt: equal digests, and no effect was repeated",
    )?;
    let result = format!(
        "{} of {} states equal, {repeated} effects repeated",
        same(&after, before),
        before.len()
    );
    story.note("truth is the log alone", result, Some(started_in), good);
    let counts = [
        ("events", stage.witness()?.events.len()),
        ("messages", stage.witness()?.count("conversation.message_posted")),
        ("claims", stage.witness()?.count("conversation.turn_claimed")),
        ("steps", stage.witness()?.count("run.node_completed")),
    ];
    let text = counts.map(|(name, n)| format!("{n} {name}")).join(", ");
    let repeated = stage.witness()?.repeated;
    story.note(
        "seen by the subscriber",
        format!("{text}; {repeated} came twice across the crash"),
        None,
        true,
    );
    Ok(())
}
