//! Work that may wait for a disk or a broker.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does it here, after other threads have taken over the tasks of this one, where there are others.
pub(crate) fn off_worker<T>(work: impl FnOnce() -> T) -> T {
    let has_others = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_others { tokio::task::block_in_place(work) } else { work() }
}
