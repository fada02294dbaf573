//! The creation of a workflow run: its definition, its inputs, and in whose name it acts.

use super::{Draft, RunRejection, advance::advance, registry};
use crate::{
    components::{PortType, is_port_name},
    definition::{Data, Definition, Pinned},
    rights::acts_alone,
    values::Values,
};
use quipu_kinds::run::{CreateRun, RunEvent};
use quipu_schemas::{
    context::Context,
    ids::PrincipalId,
    json::Json,
    limits::{ENTITY_VALUES_MAX_BYTES, RUN_VALUE_MAX_BYTES, VALUE_MAX_BYTES},
    personal::{
        Personal,
        value::{self, Sealed},
    },
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn create(create: &CreateRun, draft: &mut Draft<'_, '_>) -> Result<(), RunRejection> {
    let definition = match (&create.definition, &create.definition_text) {
        (Some(json), None) => Definition::load(&json.0, registry())?,
        (None, Some(text)) => Definition::from_text(text, registry())?,
        (Some(_), Some(_)) | (None, None) => return Err(RunRejection::OneDefinition),
    };
    let definition = Pinned::of(definition);
    if let Some(name) = create.texts.keys().find(|name| !is_port_name(name)) {
        return Err(RunRejection::BadName(name.clone(), "texts"));
    }
    let context = draft.context;
    let acts_as = acts_as(create, context)?;
    let owner = format!("{}/{}", context.stream.org, context.actor());
    let clear = definition.data == Data::None;
    let values = Values { context, owner, clear };
    let mut given = BTreeMap::new();
    for (name, value) in &create.input {
        given.insert(name.clone(), input(&definition, name, value, &values)?);
    }
    let texts: u64 = create.texts.values().filter_map(Personal::blob).map(|blob| blob.size).sum();
    let named: u64 = given.values().map(|value| value::named_bytes(&value.0)).sum();
    if texts + named > ENTITY_VALUES_MAX_BYTES as u64 {
        return Err(RunRejection::TooLarge("input".to_owned()));
    }
    if let Some((name, _)) = definition
        .inputs
        .iter()
        .find(|(name, spec)| spec.required && !spec.many && !create.input.contains_key(*name))
    {
        return Err(RunRejection::MissingInput(name.clone()));
    }
    draft.emit(RunEvent::Created {
        stream: draft.context.stream.clone(),
        by: draft.context.actor().clone(),
        principal: draft.context.sender(),
        credential: draft.context.credential.cloned(),
        acts_as,
        name: definition.name.clone(),
        digest: definition.digest(),
        definition: definition.canonical(),
        input: given,
        texts: create.texts.clone(),
        turn: None,
    })?;
    if create.start {
        draft.emit(RunEvent::Initialized {})?;
        draft.emit(RunEvent::Started {})?;
        advance(draft)?;
    }
    Ok(())
}

/// The other principal in whose name the run is to act. That the creator may use it the kernel has asked
/// ([`Decider::names_actor`](crate::decider::Decider::names_actor)); the chain has no room for a third.
fn acts_as(create: &CreateRun, context: &Context<'_>) -> Result<Option<PrincipalId>, RunRejection> {
    let Some(named) = create.act_as.as_ref().filter(|named| *named != context.actor()) else {
        return Ok(None);
    };
    if named.is_platform() {
        return Err(RunRejection::BadName(named.to_string(), "act_as"));
    }
    acts_alone(context)?;
    Ok(Some(named.clone()))
}

/// How many values an input takes that is given again and again.
pub(super) fn room(definition: &Pinned, input: &str) -> usize {
    definition.plan().rooms.get(input).copied().unwrap_or(0)
}

/// An input that comes with `create`, in stored form. One that is given again and again is an array of its values.
fn input(definition: &Pinned, name: &str, value: &Json, values: &Values<'_>) -> Result<Json, RunRejection> {
    let field = format!("input.{name}");
    let spec = definition
        .inputs
        .get(name)
        .ok_or_else(|| RunRejection::UnknownInput(name.to_owned()))?;
    if !spec.many {
        return accepted(name, &field, value, spec.port_type, values);
    }
    let not_an_array = || RunRejection::WrongType {
        name: name.to_owned(),
        field: field.clone(),
        wanted: "an array of its values".into(),
    };
    if values.type_of(&value.0).is_none_or(|name| name != "array") {
        return Err(not_an_array());
    }
    // The fold has no key: its values are sealed one by one.
    let (mut opened, mut whose) = (value.0.clone(), BTreeSet::new());
    if Sealed::of(&opened).is_some() {
        let open = values.context.open(&mut opened, &mut whose);
        open.map_err(|_| RunRejection::TooLarge(field.clone()))?;
    }
    let Value::Array(items) = opened else { return Err(not_an_array()) };
    if items.len() > room(definition, name) {
        return Err(RunRejection::InputClosed(name.to_owned()));
    }
    let item = |item| accepted(name, &field, &Json(item), spec.port_type, values).map(|value| value.0);
    let items: Value = items.into_iter().map(item).collect::<Result<_, _>>()?;
    if items.to_string().len() > RUN_VALUE_MAX_BYTES {
        return Err(RunRejection::TooLarge(field));
    }
    Ok(Json(items))
}

/// A value that came in, of the type that is asked for, in stored form.
pub(super) fn accepted(name: &str, field: &str, value: &Json, port_type: PortType, values: &Values<'_>) -> Result<Json, RunRejection> {
    let fits = |told: &str| port_type == PortType::Any || port_type.as_str() == told;
    if !values.type_of(&value.0).is_none_or(fits) {
        let wanted = format!("of type {}", port_type.as_str());
        return Err(RunRejection::WrongType {
            name: name.to_owned(),
            field: field.to_owned(),
            wanted,
        });
    }
    let subject = format!("{}/{}", values.context.stream.org, values.context.actor());
    let too_large = |_| RunRejection::TooLarge(field.to_owned());
    let taken = values.take(&value.0, &subject).map_err(too_large)?;
    let fitting = values.fit(taken).map_err(|_| RunRejection::TooLarge(field.to_owned()))?;
    if value::size_of(&fitting) > VALUE_MAX_BYTES as u64 + 1 {
        return Err(RunRejection::TooLarge(field.to_owned()));
    }
    Ok(Json(fitting))
}
