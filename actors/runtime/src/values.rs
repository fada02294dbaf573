//! Values kept beside the log: brought for a decision that looks into them, kept when a decision has made them.

use quipu_schemas::{
    limits::NEEDS_MAX_BYTES,
    personal::{BlobRef, NewValue, Opener, SealError, Sealer},
};
use std::collections::BTreeMap;

/// Values by the names of their blobs, or why they cannot be had.
pub type Values = BTreeMap<quipu_schemas::digest::Digest, Result<Vec<u8>, SealError>>;

/// Fetches what a decision needs, in order, as far as its bound goes. A store that does not answer is an error: whoever
/// sent the command sends it again. What is missing or damaged is told to the rules, which refuse or fail by it. Blocks.
pub fn bring(needs: &[BlobRef], opener: &dyn Opener) -> Result<Values, SealError> {
    let mut values = Values::new();
    let mut room = NEEDS_MAX_BYTES as u64;
    for blob in needs {
        if blob.size > room || values.contains_key(&blob.digest) {
            continue;
        }
        let kept = match opener.opening_key(&blob.subject)? {
            // Erased: it opens as erased, wherever its ciphertext is.
            None => continue,
            Some(_) => opener.kept(blob),
        };
        match kept {
            Err(error) if !error.is_lasting() => return Err(error),
            kept => {
                room -= blob.size;
                values.insert(blob.digest, kept);
            }
        }
    }
    Ok(values)
}

/// Keeps the values that a decision made, durably. Blocks.
pub fn keep(made: Vec<NewValue>, sealer: &dyn Sealer) -> Result<(), SealError> {
    for NewValue { subject, bytes } in made {
        sealer.keep(&subject, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use quipu_schemas::{
        digest::Digest,
        personal::{Brought, DataKey, Opened, Personal},
    };

    /// A store that can fall silent, and one subject whose key is gone.
    #[derive(Default)]
    struct Store(Mutex<(BTreeMap<Digest, Vec<u8>>, bool)>);

    impl Sealer for Store {
        fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
            Ok(DataKey([7; 32]))
        }
        fn inline_max(&self) -> usize {
            10
        }
        fn keep(&self, _: &str, blob: Vec<u8>) -> Result<Digest, SealError> {
            let name = Digest::of(&[&blob]);
            self.0.lock().0.insert(name, blob);
            Ok(name)
        }
    }
    impl Opener for Store {
        fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
            Ok((subject != "acme/erased").then_some(DataKey([7; 32])))
        }
        fn kept(&self, blob: &BlobRef) -> Result<Vec<u8>, SealError> {
            let store = self.0.lock();
            if store.1 {
                return Err(SealError::Unreachable("silent".into()));
            }
            store.0.get(&blob.digest).cloned().ok_or(SealError::Missing(blob.digest))
        }
    }

    fn sealed(store: &Store, subject: &str, len: usize) -> Personal<String> {
        Personal::seal(&"x".repeat(len), subject, store).unwrap()
    }

    #[test]
    fn what_is_needed_is_brought_as_far_as_the_bound_goes() {
        let store = Store::default();
        let (first, huge, last) = (
            sealed(&store, "acme/ada", 100),
            sealed(&store, "acme/ada", NEEDS_MAX_BYTES),
            sealed(&store, "acme/ada", 200),
        );
        let needs: Vec<BlobRef> = [&first, &huge, &last, &first].into_iter().filter_map(Personal::blob).collect();
        let opener = Brought::new(&store, bring(&needs, &store).unwrap());
        assert_eq!(first.open(&opener).unwrap(), Opened::Value("x".repeat(100)));
        assert_eq!(last.open(&opener).unwrap(), Opened::Value("x".repeat(200)));
        assert_eq!(huge.open(&opener), Err(SealError::NotBrought(huge.blob().unwrap().digest)));
    }

    #[test]
    fn a_silent_store_is_asked_again_and_a_missing_value_is_told() {
        let store = Store::default();
        let (gone, erased) = (sealed(&store, "acme/ada", 100), sealed(&store, "acme/erased", 100));
        let needs = [gone.blob().unwrap(), erased.blob().unwrap()];
        store.0.lock().0.clear();
        let opener = Brought::new(&store, bring(&needs, &store).unwrap());
        assert_eq!(gone.open(&opener), Err(SealError::Missing(needs[0].digest)));
        assert_eq!(erased.open(&opener), Ok(Opened::Erased), "whatever became of its ciphertext");
        store.0.lock().1 = true;
        let silent = bring(&needs[..1], &store).unwrap_err();
        assert_eq!((silent.problem().status, silent.problem().code.as_str()), (503, "blob_unavailable"));
        assert!(
            bring(&needs[1..], &store).is_ok(),
            "nothing is asked of the store for what is erased"
        );
    }
}
