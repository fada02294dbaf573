use super::*;
use crate::{
    api::CommandRequest,
    ingress::{Drawn, admit},
};
use quipu_events::keyring::Keyring;
use quipu_rules::decider::{AskedOf, Corrupt, Decision, NoWord, Refusal};
use quipu_schemas::{
    context::Context,
    envelope::DataClass,
    ids::{EntityId, OrgId, PrincipalId},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[test]
fn the_names_of_commands_are_those_of_the_documents() {
    let kinds = Kinds::builtin();
    for (info, (kind, names)) in kinds.info().iter().zip(kinds.commands()) {
        assert_eq!(info.kind, kind.as_str());
        assert!(!names.is_empty());
        assert_eq!(info.commands.iter().map(|c| c.name.clone()).collect::<Vec<_>>(), names);
    }
}

#[test]
fn every_word_of_every_kind_is_refused_from_clients() {
    let kinds = Kinds::builtin();
    let keys = Arc::new(Keyring::ephemeral(7));
    let mut words = 0;
    for kind in kinds.commands().map(|(kind, _)| kind.clone()) {
        let handler = kinds.get(&kind).unwrap();
        for word in handler.words() {
            words += 1;
            let request = CommandRequest {
                org: OrgId::from_static("acme"),
                kind: kind.clone(),
                id: Some(EntityId::from_static("e")),
                command: word.clone(),
                body: json!({}),
                command_id: None,
                principal: PrincipalId::BOOTSTRAP,
                on_behalf_of: None,
                credential: None,
                expected_version: None,
                environment: None,
                data_class: DataClass::None,
                correlation: None,
                traceparent: None,
            };
            let refused = admit(request, &kinds, &keys, &Drawn::of_seed(1), 1).unwrap_err();
            assert_eq!((refused.status, refused.code.as_str()), (404, "unknown_command"), "{kind}.{word}");
            assert!(refused.detail.contains("sent by the node itself"), "{refused}");
            assert!(refused.fix.unwrap().contains(&handler.commands()[0]), "{kind}.{word}");
            // Even past that door it cannot be read.
            let unread = handler.parse(word, json!({}), "acme/ada", keys.clone()).unwrap_err();
            assert!(unread.detail.contains("unknown variant"), "{unread}");
        }
    }
    assert!(words > 10, "{words}");
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Ringing {
    Ring {},
}

/// Calls a command and a word alike.
struct Doubled;
impl Decider for Doubled {
    const KIND: &'static str = "doubled";
    const RULES_VERSION: u32 = 1;
    type State = ();
    type Command = Ringing;
    type Word = Ringing;
    type Event = ();
    type Rejection = Never;
    fn initial() {}
    fn decide(_: &(), _: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<()>, Never> {
        Ok(Decision::Unchanged)
    }
    fn evolve((): (), (): &()) -> Result<(), Corrupt> {
        Ok(())
    }
}

#[test]
fn a_word_called_like_a_command_is_refused() {
    let told = Kinds::builtin().try_with::<Doubled>().err().unwrap().to_string();
    assert!(told.contains("both a command and a word `ring`"), "{told}");
}

/// A kind that only has a name, a plural and a prefix.
macro_rules! bare {
    ($name:ident, $kind:literal, $plural:expr, $prefix:expr) => {
        struct $name;
        impl Decider for $name {
            const KIND: &'static str = $kind;
            const PLURAL: Option<&'static str> = $plural;
            const PREFIX: Option<&'static str> = $prefix;
            const RULES_VERSION: u32 = 1;
            type State = ();
            type Command = ();
            type Word = NoWord;
            type Event = ();
            type Rejection = Never;
            fn initial() {}
            fn decide(_: &(), _: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<()>, Never> {
                Ok(Decision::Unchanged)
            }
            fn evolve((): (), (): &()) -> Result<(), Corrupt> {
                Ok(())
            }
        }
    };
}

#[derive(Debug)]
struct Never;
impl Refusal for Never {
    fn problem(&self) -> Problem {
        Problem::new(409, "never", "never")
    }
}

bare!(Memory, "memory", None, None);
bare!(Person, "person", Some("people"), Some("prs"));
bare!(Runs, "runs", None, None);
bare!(Jog, "jog", Some("runs"), None);
bare!(People, "people", None, None);
bare!(Invite, "invite", None, None);
bare!(Event, "event", None, None);
bare!(Happening, "happening", Some("events"), None);
bare!(Run, "run", None, None);
bare!(Loud, "loud", Some("LOUD"), None);
bare!(Long, "long", None, Some("longer-than"));
bare!(Upper, "Upper", None, None);

#[test]
fn own_kinds_bring_plural_and_prefix() {
    let kinds = Kinds::builtin().with::<Memory>().with::<Person>();
    let kind = |name: &str| Kind::parse(name.to_owned()).unwrap();
    assert_eq!(kinds.plural(&kind("memory")), "memories");
    assert_eq!(kinds.plural(&kind("person")), "people");
    assert_eq!(kinds.plural(&kind("unknown")), "unknowns");
    assert_eq!(kinds.get(&kind("person")).unwrap().prefix(), "prs");
    for word in ["person", "people", "persons"] {
        assert_eq!(kinds.named(word), Some(&kind("person")), "{word}");
    }
    let plurals: Vec<_> = kinds.info().into_iter().map(|info| info.plural).collect();
    let of_house = |plural: &String| Kind::parse_plural(plural).is_some_and(|kind| kind.spec().is_some());
    let own: Vec<_> = plurals.iter().filter(|plural| !of_house(plural)).collect();
    assert_eq!(own, ["memories", "people"]);
    assert!(plurals.iter().any(|plural| plural == "runs"), "{plurals:?}");
}

#[test]
fn kinds_called_like_a_view_are_refused() {
    let kinds = Kinds::builtin().with::<Person>().with::<Memory>();
    assert_eq!(kinds.beside(Some("run"), ["runs", "messages", "activity"]), Ok(()));
    assert_eq!(kinds.beside(Some("person"), ["people", "births"]), Ok(()));
    for view in ["person", "people", "persons", "memories"] {
        let told = kinds.beside(None, ["activity", view]).unwrap_err().to_string();
        assert!(told.contains(&format!("`{view}`: a view is")), "{told}");
    }
}

#[test]
fn taken_and_reserved_words_are_refused() {
    let kinds = || Kinds::builtin().with::<Person>();
    let told = [
        kinds().try_with::<Runs>().err(),
        kinds().try_with::<Jog>().err(),
        kinds().try_with::<People>().err(),
        kinds().try_with::<Run>().err(),
        kinds().try_with::<Invite>().err(),
        kinds().try_with::<Event>().err(),
        kinds().try_with::<Happening>().err(),
        kinds().try_with::<Loud>().err(),
        kinds().try_with::<Long>().err(),
        kinds().try_with::<Upper>().err(),
    ];
    let told: Vec<String> = told
        .into_iter()
        .map(|error| error.map_or_else(String::new, |e| e.to_string()))
        .collect();
    for (error, expected) in told.iter().zip([
        "`runs`: kind run is",
        "`runs`: kind run is",
        "`people`: kind person is",
        "`run`: kind run is",
        "`invite`: kind invite is",
        "`event`: the word is reserved",
        "`events`: the word is reserved",
        "plural `LOUD` is not valid",
        "id prefix `longer-than` is not valid",
        "kind `Upper` is not an id",
    ]) {
        assert!(error.contains(expected), "{error:?} against {expected}");
    }
}
