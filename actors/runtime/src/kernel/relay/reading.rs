//! How far a relay has read the pending reactions of its partition, and whose it leaves in the index.
//!
//! Memory holds what comes first in the log, up to the relay's bound. While more waits in the index nothing new is taken,
//! or it would overtake what is older; it is found where the log has it. Left in the index besides: what is dead, what
//! belongs to a suspended org, and what an org has beyond its share of the memory.

use super::words::{Page, PageRow, RelayAction, cursor};
use quipu_events::index::PendingCursor;
use quipu_schemas::{
    context::Millis,
    ids::{OrgId, StreamId},
    limits,
    pause::Jitter,
    reaction::ReactionKey,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where to begin in the index: behind this one, or with the first.
pub(super) type After = Option<PendingCursor>;

/// An org whose reactions stay in the index from somewhere on.
#[derive(Debug)]
struct Left {
    after: After,
    suspended: bool,
}

/// What happened while a page was on its way: it may not know of it.
#[derive(Debug, Default)]
struct Meanwhile {
    most: usize,
    gone: BTreeSet<ReactionKey>,
    cancelled: BTreeSet<(StreamId, String)>,
    restart: Option<After>,
}

#[derive(Debug)]
struct Rest {
    after: After,
    /// End of the records whose reactions were not taken because older ones wait.
    passed_over: u64,
    not_before: Millis,
    failures: u32,
    asked: Option<Meanwhile>,
}

#[derive(Debug)]
pub(super) struct Reading {
    /// What is left to read; `None`: nothing.
    rest: Option<Rest>,
    /// Where nothing is left to read: everything before this offset was read or told.
    until: u64,
    left: BTreeMap<OrgId, Left>,
    look_at: Millis,
    /// When to begin again, because something could not be read.
    again_at: Option<Millis>,
}

/// What becomes of a row.
pub(super) enum Verdict {
    /// It is new, and this was asked of its effects meanwhile.
    Take {
        cancelled: bool,
    },
    Leave,
}

impl Rest {
    fn from(after: After) -> Self {
        Self {
            after,
            passed_over: 0,
            not_before: 0,
            failures: 0,
            asked: None,
        }
    }
}

impl Reading {
    /// Nothing is read yet.
    pub(super) fn new() -> Self {
        Self {
            rest: Some(Rest::from(None)),
            until: 0,
            left: BTreeMap::new(),
            look_at: 0,
            again_at: None,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none() && self.left.is_empty() && self.again_at.is_none()
    }

    /// Whether the reactions of the record at this offset are to be taken from it.
    pub(super) fn takes(&mut self, offset: u64) -> bool {
        match &mut self.rest {
            Some(rest) => {
                rest.passed_over = rest.passed_over.max(offset + 1);
                false
            }
            None => offset >= self.until,
        }
    }

    pub(super) fn is_left(&self, org: &OrgId) -> bool {
        self.left.contains_key(org)
    }

    /// From this reaction on, those of its org stay in the index.
    pub(super) fn leave(&mut self, key: &ReactionKey, offset: u64, suspended: bool) {
        let after = Some(just_before(cursor(key, offset)));
        let left = self.left.entry(key.stream.org.clone()).or_insert(Left { after, suspended });
        left.after = left.after.min(after);
        left.suspended |= suspended;
    }

    /// Begins again behind this one.
    pub(super) fn restart(&mut self, after: After) {
        match &mut self.rest {
            None => self.rest = Some(Rest::from(after)),
            Some(Rest { asked: Some(asked), .. }) => asked.restart = Some(asked.restart.map_or(after, |other| other.min(after))),
            Some(rest) => rest.after = rest.after.min(after),
        }
    }

    /// Begins again with the first, for every org.
    pub(super) fn restart_all(&mut self) {
        self.left.values_mut().for_each(|left| left.after = None);
        self.restart(None);
    }

    /// An org's memory has drained: what was left of it is read on.
    pub(super) fn has_room(&mut self, org: &OrgId) {
        if self.left.get(org).is_some_and(|left| !left.suspended)
            && let Some(left) = self.left.remove(org)
        {
            self.restart(left.after);
        }
    }

    /// Looks again, now and then, at orgs that were suspended or had no room, and at what could not be read.
    pub(super) fn look(&mut self, now: Millis, is_suspended: &dyn Fn(&OrgId) -> bool, has_room: &dyn Fn(&OrgId) -> bool) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.restart_all();
        }
        // A clock that was set back must not put it off.
        if self.left.is_empty() || (self.look_at > now && self.look_at <= now + limits::OUTBOX_LOOK_MS) {
            return;
        }
        self.look_at = now + limits::OUTBOX_LOOK_MS;
        let mut ready = Vec::new();
        for (org, left) in &mut self.left {
            left.suspended = is_suspended(org);
            if !left.suspended && has_room(org) {
                ready.push(org.clone());
            }
        }
        ready.iter().for_each(|org| self.has_room(org));
    }

    /// What to read next, if there is room for it.
    pub(super) fn ask(&mut self, now: Millis, bound: usize, room: usize) -> Option<RelayAction> {
        let rest = self.rest.as_mut()?;
        if rest.asked.is_some() || rest.not_before > now || room < least_room(bound) {
            return None;
        }
        let most = room.min((bound / 8).max(1));
        rest.asked = Some(Meanwhile {
            most,
            ..Meanwhile::default()
        });
        Some(RelayAction::Load {
            after: rest.after,
            most,
            without: self.left.keys().cloned().collect(),
        })
    }

    /// When to look or ask next, if only time is missing.
    pub(super) fn next_due(&self, bound: usize, room: usize) -> Option<Millis> {
        let ask = self.rest.as_ref().filter(|rest| rest.asked.is_none() && room >= least_room(bound));
        let look = (!self.left.is_empty()).then_some(self.look_at);
        ask.map(|rest| rest.not_before).into_iter().chain(look).chain(self.again_at).min()
    }

    /// A reaction left the memory: a page on its way may still hold it.
    pub(super) fn gone(&mut self, key: &ReactionKey) {
        if let Some(asked) = self.asked() {
            asked.gone.insert(key.clone());
        }
    }

    /// An effect that is not in memory is to end: a page on its way may still hold it.
    pub(super) fn cancelled(&mut self, stream: &StreamId, name: &str) {
        if let Some(asked) = self.asked() {
            asked.cancelled.insert((stream.clone(), name.to_owned()));
        }
    }

    fn asked(&mut self) -> Option<&mut Meanwhile> {
        self.rest.as_mut()?.asked.as_mut()
    }

    pub(super) fn verdict(&self, row: &PageRow) -> Verdict {
        let asked = self.rest.as_ref().and_then(|rest| rest.asked.as_ref());
        let Some((asked, loaded)) = asked.zip(row.loaded.as_ref()) else {
            return Verdict::Leave;
        };
        if asked.gone.contains(&row.key) {
            return Verdict::Leave;
        }
        let cancelled = match &loaded.found.work {
            super::Work::Perform(perform) => asked.cancelled.contains(&(row.key.stream.clone(), perform.name.clone())),
            super::Work::Dispatch(_) => false,
        };
        Verdict::Take { cancelled }
    }

    /// Whether a page is waited for.
    pub(super) fn is_asked(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.asked.is_some())
    }

    /// The page was taken.
    pub(super) fn took(&mut self, page: &Page, now: Millis) {
        let Some(rest) = &mut self.rest else { return };
        let Some(asked) = rest.asked.take() else { return };
        rest.failures = 0;
        let read = page.rows.iter().take_while(|row| row.offset < page.end);
        let (mut count, mut unread) = (0, false);
        for row in read {
            rest.after = rest.after.max(Some(row.cursor()));
            unread |= row.loaded.is_none();
            count += 1;
        }
        if unread {
            let at = now + limits::OUTBOX_UNREAD_MS;
            self.again_at = Some(self.again_at.map_or(at, |other| other.min(at)));
        }
        let at_end = count < asked.most && rest.passed_over <= page.end;
        if at_end {
            self.rest = None;
            self.until = page.end;
        }
        if let Some(after) = asked.restart {
            self.restart(after);
        }
    }

    /// The page could not be read: nothing is skipped, and it is asked for again.
    pub(super) fn failed(&mut self, now: Millis, jitter: &mut Jitter) {
        let Some(rest) = &mut self.rest else { return };
        let restart = rest.asked.take().and_then(|asked| asked.restart);
        rest.failures += 1;
        rest.not_before = now + jitter.pause_ms(limits::OUTBOX_RESEND_MS, rest.failures);
        if let Some(after) = restart {
            self.restart(after);
        }
    }
}

/// Room that is worth a page.
fn least_room(bound: usize) -> usize {
    (bound / 64).max(1)
}

fn just_before(at: PendingCursor) -> PendingCursor {
    match at.ordinal.checked_sub(1) {
        Some(ordinal) => PendingCursor { ordinal, ..at },
        None => PendingCursor {
            version: at.version.saturating_sub(1),
            ordinal: u32::MAX,
            ..at
        },
    }
}
