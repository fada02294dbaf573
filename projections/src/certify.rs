//! The contract of view stores against a person's own PostgreSQL.

use crate::{
    contract::contract,
    error::ViewError,
    postgres::{Database, PostgresOptions, PostgresStore},
    sqlite::SqliteStore,
    store::Digests,
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// What became of one promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The promise, in words.
    pub promise: &'static str,
    /// Why it does not hold, if it does not.
    pub failure: Option<String>,
}

/// Runs the contract with both layouts in stores of their own, `name` and `name_orgs`, which are deleted afterwards, and
/// compares the rows with those of SQLite.
pub fn certify(options: &PostgresOptions, name: &str) -> Result<Vec<Check>, ViewError> {
    let expected = contract(&|origin| Ok(Arc::new(SqliteStore::in_memory(origin)?)), false);
    let layouts = [
        (false, name.to_owned(), "the contract of a view store, all orgs in one schema"),
        (true, format!("{name}_orgs"), "the contract of a view store, a schema for each org"),
    ];
    let mut checks = Vec::new();
    let mut found = Vec::new();
    for (schema_per_org, name, promise) in layouts {
        let mut options = options.clone();
        options.schema_per_org = schema_per_org;
        let database = Database::connect(&options)?;
        let open = |origin| Ok(Arc::new(PostgresStore::open(&database, &name, origin)?) as Arc<dyn crate::store::ViewStore>);
        let kept = catch_unwind(AssertUnwindSafe(|| contract(&open, true)));
        PostgresStore::remove(&database, &name)?;
        checks.push(Check {
            promise,
            failure: kept.as_ref().err().map(|panic| text(&**panic)),
        });
        found.extend(kept.ok());
    }
    let differing = found.iter().filter(|digests: &&Digests| **digests != expected).count();
    checks.push(Check {
        promise: "the rows are those that SQLite has",
        failure: (differing > 0 || found.is_empty()).then(|| format!("{differing} of {} stores have other rows", found.len())),
    });
    Ok(checks)
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
        .to_owned()
}
