//! The feed: every record, in offset order within its partition, catching up and then live. At least once.

use crate::{
    api::{FeedEntry, FeedItem, Stopped},
    core::{Core, lock},
};
use quipu_schemas::{
    position::{Cursor, Position},
    record,
};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::mpsc;

/// Entries waiting for one slow reader before the feed waits for it.
const READY_MAX: usize = 256;
/// Bytes read from the log at a time.
const READ_BYTES: usize = 256 * 1024;

/// Starts a feed behind `from`.
pub(crate) fn start(core: Arc<Core>, from: Cursor) -> mpsc::Receiver<FeedItem> {
    let (sender, receiver) = mpsc::channel(READY_MAX);
    tokio::spawn(run(core, from, sender));
    receiver
}

async fn run(core: Arc<Core>, mut cursor: Cursor, sender: mpsc::Sender<FeedItem>) {
    let mut durable = core.durable.subscribe();
    let mut stopped = vec![false; cursor.next.len()];
    let mut told = false;
    loop {
        durable.mark_unchanged();
        let end = lock(&core.cursor).clone();
        let mut moved = false;
        for partition in 0..core.meta.partitions {
            let at = usize::from(partition);
            let next = cursor.next[at];
            if stopped[at] || next >= end.next[at] {
                continue;
            }
            moved = true;
            let reader = core.clone();
            let read = tokio::task::spawn_blocking(move || reader.log.read(partition, next, READ_BYTES)).await;
            let frames = match read {
                Ok(Ok(frames)) => frames,
                Ok(Err(error)) => {
                    stopped[at] = true;
                    // Read from the middle of the damage, the log names where it begins.
                    let item = core.stopped(partition).unwrap_or(Stopped {
                        partition,
                        offset: next,
                        detail: error.to_string(),
                    });
                    if sender.send(FeedItem::Stopped(item)).await.is_err() {
                        return;
                    }
                    continue;
                }
                Err(_) => return,
            };
            for frame in frames {
                for (offset, (_, bytes)) in (frame.first_offset..).zip(frame.records) {
                    if offset < cursor.next[at] || offset >= end.next[at] {
                        continue;
                    }
                    let position = Position {
                        partition,
                        offset,
                        index: 0,
                    };
                    let item = match record::decode(&bytes) {
                        Ok(record) => FeedItem::Record(Box::new(FeedEntry { position, record })),
                        Err(error) => match record::decode_header(&bytes) {
                            Ok(header) => FeedItem::Parked {
                                stream: header.stream,
                                position,
                                detail: error.to_string(),
                            },
                            Err(_) => {
                                stopped[at] = true;
                                FeedItem::Stopped(Stopped {
                                    partition,
                                    offset,
                                    detail: error.to_string(),
                                })
                            }
                        },
                    };
                    let ends = stopped[at];
                    if sender.send(item).await.is_err() {
                        return;
                    }
                    if ends {
                        break;
                    }
                    cursor.next[at] = offset + 1;
                }
            }
        }
        if moved {
            told = false;
            continue;
        }
        // A partition that is read up to its damage has an end that is none: that is said before anything is called
        // caught up.
        for partition in 0..core.meta.partitions {
            let at = usize::from(partition);
            if !stopped[at]
                && let Some(item) = core.stopped(partition)
            {
                stopped[at] = true;
                if sender.send(FeedItem::Stopped(item)).await.is_err() {
                    return;
                }
            }
        }
        if !told {
            told = true;
            if sender.send(FeedItem::CaughtUp(cursor.clone())).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
        if core.stopping.load(Ordering::Acquire) {
            return;
        }
    }
}
