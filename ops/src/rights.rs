//! Names of the rights that faces ask for: what a read takes, by the kind or view that is read.
//!
//! A kind's entities and a view of the same name take `cap:{kind}.read`. Another view takes its own name in the singular. Whoever
//! may read sees personal values only with [`PERSONAL`].

use quipu_projections::{families::Families, reading::View};
use quipu_runtime::{api::KindInfo, kinds::Kinds};
use quipu_schemas::{ids::Kind, rights::Capability};

/// To see personal values, and to keep some.
pub const PERSONAL: Capability = Capability::named("personal.read");
/// To act on behalf of somebody else.
pub const ACT_AS: Capability = Capability::named("principal.act_as");
/// To say what entities of the directory are like.
pub const SYNC: Capability = Capability::named("entity.sync");
/// To see how many there are of what.
pub const STATS: Capability = Capability::named("stats.read");

/// What reading entities of a kind takes.
pub fn of_kind(kind: &Kind) -> Capability {
    Capability::of_command(kind, "read")
}

/// What reading a view takes, where the kinds with such plurals are known.
pub fn of_view<'a>(view: View, kinds: impl IntoIterator<Item = (&'a str, &'a str)>) -> Capability {
    let of_same_name = kinds.into_iter().find(|(plural, _)| *plural == view.name());
    let family = of_same_name.map_or_else(|| singular(view.name()), |(_, kind)| kind.to_owned());
    named(&family, "read")
}

/// What reading a view takes.
pub fn of_view_among(view: View, kinds: &[KindInfo]) -> Capability {
    of_view(view, kinds.iter().map(|kind| (kind.plural.as_str(), kind.kind.as_str())))
}

/// What can be read besides the kinds: each view, and how many there are of what.
pub fn beside_kinds(families: Families, kinds: &Kinds) -> Vec<Capability> {
    let of_kind = |view: &str| kinds.commands().find(|(kind, _)| kinds.plural(kind) == view).map(|(kind, _)| kind);
    let of_view = |view: View| of_view(view, of_kind(view.name()).map(|kind| (view.name(), kind.as_str())));
    std::iter::once(STATS).chain(families.views().map(of_view)).collect()
}

/// The name of a view may not be a valid word of rights; such a view grants nothing.
fn named(family: &str, verb: &str) -> Capability {
    format!("cap:{family}.{verb}").parse().unwrap_or(Capability::named("unnamed.read"))
}

/// `dead-letters` → `dead-letter`.
fn singular(plural: &str) -> String {
    let cut = |ending: &str, instead: &str| Some(format!("{}{instead}", plural.strip_suffix(ending)?));
    cut("ies", "y")
        .or_else(|| cut("ches", "ch"))
        .or_else(|| cut("s", ""))
        .unwrap_or_else(|| plural.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_view_takes_a_right_of_its_own_name() {
        let rights = beside_kinds(Families::house(), &Kinds::builtin());
        let all: BTreeSet<String> = rights.iter().map(ToString::to_string).collect();
        for name in [
            "run",
            "message",
            "delivery",
            "dispatch",
            "dead-letter",
            "activity",
            "stats",
            "parked-stream",
        ] {
            assert!(all.contains(&format!("cap:{name}.read")), "{name}: {all:?}");
        }
        assert!(!all.contains("cap:unnamed.read"), "{all:?}");
        assert_eq!(all.len(), Families::house().views().count() + 1, "two views share a right: {all:?}");
    }

    #[test]
    fn a_view_named_as_a_kind_takes_that_kinds_right() {
        let view = View::RUNS;
        assert_eq!(of_view(view, [("runs", "flow")]).to_string(), "cap:flow.read");
        assert_eq!(of_view(view, []).to_string(), "cap:run.read");
    }
}
