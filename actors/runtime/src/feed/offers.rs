//! Offers to the hub what no other part of this node does: the records of partitions that other nodes own, read once for all
//! who follow.

use super::page;
use crate::{api::FeedItem, core::Core, hub::cost, kernel::hub::Offer};
use quipu_schemas::{limits::FEED_HELD_BYTES, position::Position};
use std::sync::Arc;

/// Reads what nobody offered, as long as somebody follows: the records of partitions that other nodes own. Runs until the node
/// stops.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut durable = core.durable.subscribe();
    let mut stopped = core.stopped.subscribe();
    loop {
        durable.mark_unchanged();
        let reader = core.clone();
        let late = core.hub.late(&core.cursor);
        let more = !late.is_empty();
        let read = tokio::task::spawn_blocking(move || late.into_iter().any(|partition| offer(&reader, partition)));
        // A crash of one round was logged; the next one goes on.
        if more && read.await.unwrap_or(false) {
            continue;
        }
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return },
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Offers the next page of a partition; whether there may be more.
fn offer(core: &Core, partition: u16) -> bool {
    let from = core.hub.state().machine.next(partition);
    let until = core.cursor.lock().next[usize::from(partition)];
    let page = page::by_log(core, &Default::default(), partition, from, until, FEED_HELD_BYTES);
    let mut state = core.hub.state();
    if page.stopped.is_some() || page.next <= from {
        // Each follower reads on by itself, and says what it meets.
        let touched = state.machine.lose_sight(partition);
        state.wake(&touched);
        return false;
    }
    let offers = page.items.into_iter().filter_map(|(bytes, item)| {
        let (org, Position { offset, .. }) = match &item {
            FeedItem::Record(entry) => (entry.record.header.stream.org.clone(), entry.position),
            FeedItem::Parked { stream, position, .. } => (stream.org.clone(), *position),
            FeedItem::CaughtUp(_) | FeedItem::Stopped(_) => return None,
        };
        Some(Offer {
            org,
            offset,
            bytes: cost(bytes),
            item,
        })
    });
    let touched = state.machine.publish(partition, from, page.next, offers);
    state.wake(&touched);
    page.next < until
}
