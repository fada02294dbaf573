//! Views and parts as the grid names them.

use quipu_projections::{families::Families, family::Tie, reading::View};

/// The parts of a kind, by name.
pub fn parts(families: Families, kind: &str) -> impl Iterator<Item = View> {
    families.parts(kind).map(|(view, _)| view)
}

/// Filters of a part that a client may give: the view's, but those that tie it to its entity.
pub fn part_filters(families: Families, kind: &str, view: View) -> Vec<&'static str> {
    let tied: &[&str] = match tie(families, kind, view) {
        Some(Tie::Id(column)) => &[column],
        Some(Tie::Stream) => &["kind", "id"],
        Some(Tie::Org) | None => &[],
    };
    view.filters().filter(|name| !tied.contains(name)).collect()
}

/// Whether the name can only be read, because no command is called so.
pub fn is_read_only(families: Families, kind: &str, name: &str) -> bool {
    matches!(name, "history" | "state") || parts(families, kind).any(|view| view.name() == name)
}

/// How a part hangs on its entity.
pub fn tie(families: Families, kind: &str, view: View) -> Option<Tie> {
    families.parts(kind).find(|(part, _)| *part == view).map(|(_, tie)| tie)
}

/// The view whose rows one segment of a path names, of a plural. Where several columns name a row, an entity of that kind is shown by
/// its state.
pub fn view_of_rows(families: Families, plural: &str) -> Option<View> {
    view_named(families, plural).filter(|view| view.named_by().len() == 1)
}

/// The view of a plural, if it has one.
pub fn view_named(families: Families, plural: &str) -> Option<View> {
    families.views().find(|view| view.name() == plural)
}
