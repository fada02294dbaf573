//! What is to be of an entity, from what is.

use super::{EntityRejection, Known, decider_of, folded};
use crate::text;
use quipu_kinds::{
    alias::AliasName,
    entity::{Binding, BoundTo, EntityEvent, EntityStatus, EntityType},
};
use quipu_schemas::{
    context::Context,
    ids::EntityId,
    limits::{ALIASES_MAX, PARTICIPANT_BINDINGS_MAX},
};

fn check_name(name: &str) -> Result<(), EntityRejection> {
    if text::is_display_name(name) {
        Ok(())
    } else {
        Err(EntityRejection::BadName)
    }
}

/// What is to be, from what is: the events between them.
pub(super) struct Change<'a, 'c> {
    pub(super) known: Known,
    context: &'a Context<'c>,
    pub(super) events: Vec<EntityEvent>,
}

impl<'a, 'c> Change<'a, 'c> {
    /// Nothing yet.
    pub(super) fn of(known: &Known, context: &'a Context<'c>) -> Self {
        Self {
            known: known.clone(),
            context,
            events: Vec::new(),
        }
    }

    fn event(&mut self, event: EntityEvent) {
        // Every event here fits the state that it was made from.
        if let Ok(known) = folded(self.known.clone(), &event) {
            self.known = known;
            self.events.push(event);
        }
    }

    pub(super) fn claim(&mut self, alias: &AliasName) -> Result<(), EntityRejection> {
        if !alias.is_valid() {
            return Err(EntityRejection::BadAlias(alias.clone()));
        }
        if self.known.claimed(alias).is_some() {
            return Ok(());
        }
        if self.known.aliases.len() >= ALIASES_MAX {
            return Err(EntityRejection::TooManyAliases);
        }
        self.event(EntityEvent::AliasAsked {
            alias: alias.clone(),
            of: decider_of(alias, self.context),
            claim: self.known.claims + 1,
        });
        Ok(())
    }

    pub(super) fn give_up(&mut self, alias: &AliasName) -> Result<(), EntityRejection> {
        match self.known.claimed(alias) {
            None => Err(EntityRejection::NoSuchAlias(alias.clone())),
            Some(claimed) if !claimed.is_held => Err(EntityRejection::AliasPending(alias.clone())),
            Some(claimed) => {
                let claim = claimed.claim;
                self.event(EntityEvent::AliasRemoved {
                    alias: alias.clone(),
                    of: decider_of(alias, self.context),
                    claim,
                });
                Ok(())
            }
        }
    }

    pub(super) fn bind(&mut self, binding: &Binding) -> Result<(), EntityRejection> {
        if !binding.is_valid() {
            return Err(EntityRejection::BadBinding(binding.clone()));
        }
        if self.known.bindings.contains(binding) {
            return Ok(());
        }
        if let Some(other) = self.known.only(binding.to) {
            return Err(EntityRejection::AlreadyBound(other.clone()));
        }
        let participants = self.known.bindings.iter().filter(|known| known.to == BoundTo::Participant);
        if binding.to == BoundTo::Participant && participants.count() >= PARTICIPANT_BINDINGS_MAX {
            return Err(EntityRejection::TooManyBindings);
        }
        self.event(EntityEvent::Bound { binding: binding.clone() });
        Ok(())
    }

    pub(super) fn unbind(&mut self, binding: &Binding) -> Result<(), EntityRejection> {
        if !self.known.bindings.contains(binding) {
            return Err(EntityRejection::NotBound(binding.clone()));
        }
        self.event(EntityEvent::Unbound { binding: binding.clone() });
        Ok(())
    }

    pub(super) fn rename(&mut self, name: &str) -> Result<(), EntityRejection> {
        check_name(name)?;
        if self.known.name != name {
            self.event(EntityEvent::Renamed { name: name.to_owned() });
        }
        Ok(())
    }

    pub(super) fn move_to(&mut self, project: Option<&EntityId>) {
        if self.known.project.as_ref() != project {
            self.event(EntityEvent::Moved { project: project.cloned() });
        }
    }

    pub(super) fn set_status(&mut self, status: EntityStatus) {
        if self.known.status != status {
            self.event(EntityEvent::StatusSet { status });
        }
    }
}

/// A change that begins with the entry itself.
pub(super) fn entered<'a, 'c>(entity_type: EntityType, name: &str, context: &'a Context<'c>) -> Result<Change<'a, 'c>, EntityRejection> {
    check_name(name)?;
    let created = EntityEvent::Created {
        entity_type,
        name: name.to_owned(),
    };
    let events = vec![created];
    Ok(Change {
        events,
        ..Change::of(&Known::new(entity_type, name), context)
    })
}
