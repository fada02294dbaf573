//! Whose data was erased.

use quipu_schemas::personal::{Subject, value::SUBJECTS_SEPARATOR};
use std::collections::BTreeSet;

/// Subjects whose keys were destroyed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased(pub BTreeSet<Subject>);

impl Erased {
    /// Whether a value of this subject, or of these subjects, is erased.
    pub fn covers(&self, subject: &str) -> bool {
        !self.0.is_empty() && subject.split(SUBJECTS_SEPARATOR).any(|one| self.0.contains(one))
    }
}
