//! Agents, and their turns.

/// Largest agent directive.
pub const DIRECTIVE_MAX_BYTES: usize = 32 * 1024;
/// Most directive versions of one agent.
pub const DIRECTIVES_MAX: usize = 1_000;
/// Most tools granted to one agent.
pub const TOOLS_MAX: usize = 64;
/// Model calls of one agent turn, unless its guard says otherwise.
pub const TURN_MAX_ITERATIONS: u32 = 200;
/// Model calls of one turn that a guard may allow.
pub const TURN_ITERATIONS_LIMIT: u32 = 1_000;
/// Tool fingerprints that the runaway guard remembers.
pub const RUNAWAY_WINDOW_CALLS: usize = 20;
/// Equal fingerprints in the window that suspend an agent.
pub const RUNAWAY_REPEATS: usize = 5;
