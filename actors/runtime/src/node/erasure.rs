//! The end of a subject's data: their key is destroyed, and their large values are deleted.

use super::Node;
use crate::off_worker::blocking;
use quipu_events::{blobs::sweep, erased::Erased, keyring::KeyringError};
use quipu_schemas::{
    ids::{OrgId, PrincipalId},
    personal::SealError,
    problem::Problem,
};
use std::collections::BTreeSet;

impl Node {
    /// Destroys the key of a principal's data in an org and deletes every large value of theirs, also those that were computed
    /// from theirs and others'. What they said reads as erased from then on, nothing can be sealed for them any more, and every
    /// fold stays as it is. How many values went. Repeating it ends what a failure left undone.
    pub async fn erase(&self, org: &OrgId, principal: &PrincipalId) -> Result<u64, Problem> {
        let (keys, org) = (self.0.core.keys.clone(), org.clone());
        let subject = format!("{org}/{principal}");
        let erase = move || {
            keys.destroy(&subject).map_err(|error| match error {
                KeyringError::NotDestroyed | KeyringError::NotOne(_) => Problem::new(409, "not_erasable", error.to_string()),
                error => SealError::from(error).problem(),
            })?;
            let Some(blobs) = keys.blobs() else { return Ok(0) };
            let gone = sweep::delete_of(&**blobs, &org, &Erased(BTreeSet::from([subject])));
            gone.map_err(|error| SealError::Unreachable(error.to_string()).problem())
        };
        blocking(erase).await.map_err(|crashed| crashed.problem())?
    }

    /// Whether anybody's data in an org was erased.
    pub fn has_erased(&self, org: &OrgId) -> bool {
        let prefix = format!("{org}/");
        self.0.core.keys.erased().0.iter().any(|subject| subject.starts_with(&prefix))
    }
}
