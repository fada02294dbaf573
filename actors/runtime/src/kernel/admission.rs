//! Admission: what must be known before a command is decided, and what is refused before it is.
//!
//! The machine asks one question at a time; its driver looks the answer up, however long that takes, and decides nothing.
//! What comes out is the command with everything that its decision may depend on: the rights of its sender, the first
//! receipt of its id, the settlement of the reaction that it settles. Whether the entity exists is for its kind's rules.

use super::{
    entity::{Admitted, Ticket, is_owed, settles},
    orgs::OrgView,
    refusals::{NOT_OPEN, authority_stale, entity_busy, lease_ended, unknown_org},
    seen_commands::SeenCommands,
};
use quipu_events::index::{FirstReceipt, command_mark};
use quipu_schemas::{
    context::Authority,
    envelope::{CommandBody, CommandEnvelope, Durability, Receipt},
    ids::{Kind, PrincipalId},
    limits::ENTITY_QUEUE_MAX,
    problem::Problem,
    reaction::{ReactionKey, Settled},
};
use std::sync::Arc;

/// The partition of a command's org, as the node that is to decide sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrgPartition {
    /// What is known of it is young enough to decide by.
    pub is_fresh: bool,
    /// Another node may have written to it since it was read.
    pub is_elsewhere: bool,
}

/// What has to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What the command's org says of its actor: [`Admission::org`].
    Org {
        /// Its partition is to be read to the end before.
        is_read_first: bool,
    },
    /// The marks of the stream's durable records, where they are few: [`SeenCommands::load`].
    Marks,
    /// The receipt of the command's id: [`Admission::receipt`].
    Receipt,
    /// What became of this reaction: [`Admission::settlement`].
    Settlement(ReactionKey),
}

/// How it goes on.
pub enum Step {
    /// This is looked up, and the machine is asked again. Where it cannot be looked up the command is not decided.
    Ask(Question),
    /// The command is decided.
    Admit(Admitted),
    /// The command is refused; nothing of it was taken down.
    Refuse(Problem),
}

/// One command on its way to its decision.
pub struct Admission {
    ticket: Ticket,
    command: Arc<CommandEnvelope>,
    durability: Durability,
    partition: OrgPartition,
    org: Option<OrgView>,
    is_read: bool,
    /// Whether the id is certainly new; `None`: not asked yet.
    is_new: Option<bool>,
    receipt: Option<Option<FirstReceipt>>,
    settled: Option<Option<Settled>>,
}

impl Admission {
    /// A command that its entity has taken from its queue.
    pub fn of(ticket: Ticket, command: Arc<CommandEnvelope>, durability: Durability, partition: OrgPartition) -> Self {
        Self {
            ticket,
            command,
            durability,
            partition,
            org: None,
            is_read: false,
            is_new: None,
            receipt: None,
            settled: None,
        }
    }

    /// An answer to [`Question::Org`].
    pub fn org(&mut self, view: OrgView, is_read_first: bool) {
        self.org = Some(view);
        self.is_read |= is_read_first;
    }

    /// The answer to [`Question::Receipt`].
    pub fn receipt(&mut self, receipt: Option<FirstReceipt>) {
        self.receipt = Some(receipt);
    }

    /// The answer to [`Question::Settlement`].
    pub fn settlement(&mut self, settled: Option<Settled>) {
        self.settled = Some(settled);
    }

    /// What comes next. `seen` are the marks of the entity's commands; this one's is added where it is not refused first.
    pub fn step(&mut self, seen: &mut SeenCommands) -> Step {
        if !self.partition.is_fresh {
            return Step::Refuse(authority_stale(&self.command.stream.org));
        }
        let Some(org) = self.org else {
            return Step::Ask(Question::Org { is_read_first: false });
        };
        // It may have been made a moment ago, at another node.
        if org.version == 0 && self.partition.is_elsewhere && !self.is_read {
            return Step::Ask(Question::Org { is_read_first: true });
        }
        let is_outside = matches!(self.command.body, CommandBody::Given { .. });
        if is_outside && self.command.stream.kind != Kind::ORG && org.version == 0 {
            return Step::Refuse(unknown_org(&self.command.stream.org));
        }
        if self.is_new.is_none() && seen.wants_marks() {
            return Step::Ask(Question::Marks);
        }
        let is_new = *self.is_new.get_or_insert_with(|| seen.note(command_mark(&self.command.command_id)));
        if !is_new && self.receipt.is_none() {
            return Step::Ask(Question::Receipt);
        }
        if self.settled.is_none()
            && let Some(key) = settles(&self.command.body)
        {
            return Step::Ask(Question::Settlement(key.clone()));
        }
        Step::Admit(Admitted {
            ticket: self.ticket,
            command: self.command.clone(),
            seen: self.receipt.take().flatten(),
            settled: self.settled.take().flatten(),
            authority: authority(&self.command, org),
            durability: self.durability,
        })
    }
}

/// Who acts by a command: its principal, or the one for whom it speaks.
pub fn actor(command: &CommandEnvelope) -> &PrincipalId {
    command.on_behalf_of.as_ref().unwrap_or(&command.principal)
}

/// What a command's actor may.
fn authority(command: &CommandEnvelope, org: OrgView) -> Authority {
    let (is_kernels, dispatched_by) = match &command.body {
        CommandBody::Given { settles, .. } => (false, settles.as_ref().map(|key| key.stream.clone())),
        CommandBody::Kernel(_) => (true, None),
    };
    Authority {
        platform: is_kernels || (command.principal == PrincipalId::BOOTSTRAP && command.on_behalf_of.is_none()),
        role: org.role,
        org_version: org.version,
        org_suspended: org.suspended,
        dispatched_by,
    }
}

/// Refuses a client's command where too many wait for its entity; what follows from records must go on.
pub fn queued(command: &CommandEnvelope, waiting: usize) -> Result<(), Problem> {
    if !is_owed(&command.body) && waiting >= ENTITY_QUEUE_MAX {
        return Err(entity_busy(&command.stream, waiting));
    }
    Ok(())
}

/// Whether a refused command is sent again, to whoever owns its partition next. Where others share the log its owner may
/// have gone; damage stays.
pub fn is_for_next_owner(problem: &Problem, is_shared: bool, is_damaged: bool) -> bool {
    match problem.code.as_str() {
        NOT_OPEN => true,
        "partition_stopped" => is_shared && !is_damaged,
        _ => is_shared && problem.passes_with_its_owner(),
    }
}

/// A refusal is only as fresh as the owner's lease: past it another node may have decided since.
pub fn within_lease(answer: Result<Receipt, Problem>, may_refuse: bool) -> Result<Receipt, Problem> {
    match answer {
        Err(problem) if problem.status < 500 && !may_refuse => Err(lease_ended()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests;
