//! Work that may wait for a disk or a broker.

use quipu_schemas::personal::SealError;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Does it here, after other threads have taken over the tasks of this one, where there are others.
pub(crate) fn off_worker<T>(work: impl FnOnce() -> T) -> T {
    let has_others = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_others { tokio::task::block_in_place(work) } else { work() }
}

/// Does work on values, which may wait for servers too, on a thread that is kept for such work.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SealError> {
    let crashed = |_| SealError::Unreachable("the store of values crashed; the node's log says more".into());
    tokio::task::spawn_blocking(work).await.map_err(crashed)
}
