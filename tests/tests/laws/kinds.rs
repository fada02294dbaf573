//! A kind of the house is whole: whoever adds one file and forgets the next line is told which.

use super::layout::root;
use quipu_projections::families::Families;
use quipu_runtime::kinds::Kinds;
use std::{collections::BTreeSet, fs};

/// Names of the files in a folder, without those that are no module of a kind.
fn modules(folder: &str) -> BTreeSet<String> {
    fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().replace('_', "-"))
        .filter(|name| name != "lib")
        .collect()
}

/// Rules that are not registered, or whose file is not declared, compile into nothing, and no compiler says so.
#[test]
fn every_file_of_words_has_a_registered_kind() {
    let registered: BTreeSet<String> = Kinds::builtin().info().into_iter().map(|info| info.kind).collect();
    let words = modules("schemas/kinds/src");
    let missing: Vec<_> = words.difference(&registered).collect();
    assert!(
        missing.is_empty(),
        "actors/rules/src/lib.rs lacks `pub mod` or `.kind::<…>()` for {missing:?}, which have words in schemas/kinds/src"
    );
    let wordless: Vec<_> = registered.difference(&words).collect();
    assert!(
        wordless.is_empty(),
        "name the file of words in schemas/kinds/src as the kind: {wordless:?} have none"
    );
}

#[test]
fn every_kind_of_the_house_has_a_family_of_views() {
    let shown: BTreeSet<&str> = Families::house().iter().filter_map(|family| family.kind).collect();
    let missing: Vec<_> = Kinds::builtin()
        .info()
        .into_iter()
        .map(|info| info.kind)
        .filter(|kind| !shown.contains(kind.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "projections/src/lib.rs lacks `pub mod` or `&…::FAMILY` for {missing:?}, which have rules"
    );
}
