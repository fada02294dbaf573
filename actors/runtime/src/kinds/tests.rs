use super::*;
use quipu_rules::decider::{Corrupt, Decision, Refusal};
use quipu_schemas::context::Context;

#[test]
fn the_names_of_commands_are_those_of_the_documents() {
    let kinds = Kinds::builtin();
    for (info, (kind, names)) in kinds.info().iter().zip(kinds.commands()) {
        assert_eq!(info.kind, kind.as_str());
        assert!(!names.is_empty());
        assert_eq!(info.commands.iter().map(|c| c.name.clone()).collect::<Vec<_>>(), names);
    }
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
            type Event = ();
            type Rejection = Never;
            fn initial() {}
            fn decide(_: &(), (): &(), _: &Context<'_>) -> Result<Decision<()>, Never> {
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
bare!(Grant, "grant", None, None);
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
    assert_eq!(plurals, ["agents", "conversations", "memories", "orgs", "people", "runs"]);
}

#[test]
fn kinds_called_like_a_view_are_refused() {
    let kinds = Kinds::builtin().with::<Person>().with::<Memory>();
    assert_eq!(kinds.beside(["runs", "orgs", "messages", "activity"]), Ok(()));
    for view in ["person", "people", "persons", "memories"] {
        let told = kinds.beside(["runs", view]).unwrap_err().to_string();
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
        kinds().try_with::<Grant>().err(),
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
        "`grant`: the word is reserved",
        "`event`: the word is reserved",
        "`events`: the word is reserved",
        "plural `LOUD` is not valid",
        "id prefix `longer-than` is not valid",
        "kind `Upper` is not an id",
    ]) {
        assert!(error.contains(expected), "{error:?} against {expected}");
    }
}
