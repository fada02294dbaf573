use super::*;

#[test]
fn kinds_are_taken_in_singular_and_plural_views_by_name() {
    for view in Families::house().views() {
        assert_eq!(in_path(view.name()), view.name());
    }
    for (given, path) in [
        ("conversation", "conversations"),
        ("runs", "runs"),
        ("activity", "activity"),
        ("dead-letter", "dead-letters"),
        ("robot", "robots"),
        ("memory", "memories"),
        ("memories", "memories"),
    ] {
        assert_eq!(in_path(given), path);
    }
}

#[test]
fn parts_are_taken_in_singular_and_plural() {
    for (given, path) in [
        ("message", "messages"),
        ("messages", "messages"),
        ("dead-letter", "dead-letters"),
        ("step", "steps"),
        ("activity", "activity"),
        ("history", "history"),
        ("mesages", "mesages"),
    ] {
        assert_eq!(part_in_path(given), path);
    }
}

#[test]
fn a_view_in_the_place_of_the_org_is_pointed_out() {
    let said = |org: &'static str| no_view(&OrgId::from_static(org)).to_string();
    assert!(
        said("mesages").contains("did you mean `quipu get ORG messages`?"),
        "{}",
        said("mesages")
    );
    assert!(said("run").contains("quipu get ORG runs"), "{}", said("run"));
    assert!(said("acme").contains("quipu get acme KIND_OR_VIEW"), "{}", said("acme"));
}
