//! Threads of lower priority, for what works more than it waits.

/// How much less this thread gets of a processor that others want too: a third, where the others have one.
#[cfg(target_os = "linux")]
const BACKGROUND_NICE: i32 = 5;

/// On Linux a thread has a niceness of its own; elsewhere the process has one, which stays as it is.
pub(crate) fn lower_priority(name: &str) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(BACKGROUND_NICE) {
        tracing::warn!(task = name, %error, "the priority of a background thread could not be lowered");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}
