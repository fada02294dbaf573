//! Limits of the process that a node could only end at, not work within.

use quipu_schemas::limits::ADDRESS_SPACE_MIN_BYTES;

/// Where Linux tells a process its limits.
const LIMITS: &str = "/proc/self/limits";

/// Refuses a limit on the address space that threads and mappings would soon meet: an allocation that fails ends the process in
/// the middle of whatever it does. `Err` says what to do.
pub fn check_limits() -> Result<(), String> {
    // Where there is no such file, nothing is known.
    std::fs::read_to_string(LIMITS).map_or(Ok(()), |limits| check(&limits))
}

fn check(limits: &str) -> Result<(), String> {
    const NAME: &str = "Max address space";
    const MIB: u64 = 1024 * 1024;
    let line = limits.lines().find_map(|line| line.strip_prefix(NAME));
    // The first column is the limit in force; `unlimited` is not a number.
    match line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()) {
        Some(bytes) if bytes < ADDRESS_SPACE_MIN_BYTES => Err(format!(
            "the address space of this process is limited to {} MiB (`ulimit -v`), and a node needs at least {} MiB, most of which it \
             never touches: raise or remove that limit, and bound resident memory instead (a control group, `MemoryMax`)",
            bytes / MIB,
            ADDRESS_SPACE_MIN_BYTES / MIB
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_address_space_is_refused_with_a_sentence() {
        let line = |soft: &str| format!("Limit  Soft Limit  Hard Limit  Units\nMax address space         {soft}    unlimited   bytes\n");
        let refused = check(&line("262144000")).unwrap_err();
        assert!(refused.contains("250 MiB") && refused.contains("ulimit -v"), "{refused}");
        for fine in ["unlimited", "68719476736"] {
            assert_eq!(check(&line(fine)), Ok(()));
        }
        assert_eq!(check("nothing of the kind"), Ok(()));
        assert_eq!(check_limits(), Ok(()), "that of this test");
    }
}
