//! Why an entity of the directory stays as it is, as people and programs meet it.

use crate::decider::Refusal;
use quipu_kinds::{
    alias::AliasName,
    entity::{Binding, EntityType},
};
use quipu_schemas::{
    ids::EntityId,
    limits::{ALIASES_MAX, NAME_MAX_CHARS, PARTICIPANT_BINDINGS_MAX},
    problem::Problem,
};

/// Why an entity stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityRejection {
    /// It is in the directory already.
    Exists(EntityId),
    /// It is not in the directory.
    NotFound(EntityId),
    /// The name is out of bounds.
    BadName,
    /// It is something else.
    OtherType(EntityType),
    /// The alias is outside its form's grammar.
    BadAlias(AliasName),
    /// It claims this one at present, and has no answer yet.
    AliasPending(AliasName),
    /// It neither has nor claims this one.
    NoSuchAlias(AliasName),
    /// It has as many as there may be.
    TooManyAliases,
    /// The binding's id is outside its grammar.
    BadBinding(Binding),
    /// It is bound to another one.
    AlreadyBound(Binding),
    /// It is not bound to this.
    NotBound(Binding),
    /// It is bound to as many participants as there may be.
    TooManyBindings,
    /// What was sent is from neither the kernel nor the alias that it is about.
    NotTheAlias,
}

impl Refusal for EntityRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::Exists(id) => Problem::new(409, "entity_exists", format!("{id} is in the directory"))
                .fix("choose another id, or send sync to change what it is like"),
            Self::NotFound(id) => {
                Problem::new(404, "entity_not_found", format!("{id} is not in the directory")).fix("create it first, or send sync")
            }
            Self::BadName => Problem::new(422, "bad_name", format!("a name has 1 to {NAME_MAX_CHARS} printable characters"))
                .field("name")
                .fix("use at most so many characters, some of them visible, and no line breaks or direction overrides"),
            Self::OtherType(is) => Problem::new(409, "other_type", format!("it is a {is:?} and stays one").to_lowercase())
                .field("type")
                .fix("enter something else under an id of its own"),
            Self::BadAlias(alias) => Problem::new(
                422,
                "bad_alias",
                format!("`{}` is not a {} alias", alias.text, alias.form.name()),
            )
            .field("alias")
            .fix("a slug has 1 to 48 of a-z 0-9 -; a qualified name 2 to 8 slugs parted by /; a federated one is name@host; none has a #"),
            Self::AliasPending(alias) => Problem::new(
                409,
                "alias_pending",
                format!("the claim of the {} {} has no answer yet", alias.form.name(), alias.text),
            )
            .fix("send it again when the view `handles` tells the answer"),
            Self::NoSuchAlias(alias) => Problem::new(
                404,
                "alias_not_held",
                format!("it does not have the {} {}", alias.form.name(), alias.text),
            )
            .field("alias")
            .fix("see its aliases in the view `handles`"),
            Self::TooManyAliases => Problem::new(409, "too_many_aliases", format!("an entity has at most {ALIASES_MAX} aliases"))
                .field("alias")
                .fix("remove some"),
            Self::BadBinding(binding) => Problem::new(422, "bad_binding", format!("`{}` is not an id of {:?}", binding.id, binding.to))
                .field("binding.id")
                .fix("use 1 to 64 of A-Z a-z 0-9 _ -; for a participant CONVERSATION/PRINCIPAL"),
            Self::AlreadyBound(binding) => Problem::new(409, "already_bound", format!("it is bound to {:?} {}", binding.to, binding.id))
                .field("binding.to")
                .fix("unbind it first"),
            Self::NotBound(binding) => Problem::new(404, "not_bound", format!("it is not bound to {:?} {}", binding.to, binding.id))
                .field("binding")
                .fix("see what it is bound to in the view `bindings`"),
            Self::TooManyBindings => Problem::new(
                409,
                "too_many_bindings",
                format!("an entity is bound to at most {PARTICIPANT_BINDINGS_MAX} participants"),
            )
            .field("binding")
            .fix("unbind some"),
            Self::NotTheAlias => Problem::new(403, "not_the_alias", "only an alias tells what became of itself")
                .fix("send release to the alias, or remove_alias to the entity"),
        }
    }
}
