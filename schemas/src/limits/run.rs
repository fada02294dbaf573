//! Runs, their definitions and expressions.

use super::{effects::RESPONSE_KEEP_BYTES, values::NEEDS_MAX_BYTES};

/// Most nodes of a run definition.
pub const NODES_MAX: usize = 1_000;
/// Most edges of a run definition.
pub const EDGES_MAX: usize = 3_000;
/// Largest run definition. With the fields that it leaves out (some 50 bytes a node) it stands in the run's first record.
pub const DEFINITION_MAX_BYTES: usize = 160 * 1024;
/// Most run definitions that a process keeps read and planned (those of awake runs stay besides).
pub const DEFINITIONS_KEPT_MAX: usize = 64;
/// Most bytes of their text; in memory a definition takes some ten times as much.
pub const DEFINITIONS_KEPT_MAX_BYTES: usize = 1024 * 1024;
/// Inputs that a paused run queues before it answers 429.
pub const RUN_INPUT_QUEUE_MAX: usize = 1_000;
/// Total bytes of a run's queued inputs.
pub const RUN_INPUT_QUEUE_MAX_BYTES: usize = 1024 * 1024;
/// What the inputs, a signal, or the outputs of one node of a run take in their record: the values that stand there, and the names
/// of those that do not.
pub const RUN_VALUE_MAX_BYTES: usize = RESPONSE_KEEP_BYTES + 4 * 1024;
/// Bytes of events and reactions past which a run goes on in a decision of its own.
pub const RUN_DECISION_MAX_BYTES: usize = 40 * 1024;
/// Steps that a run takes in one decision before it goes on in another.
pub const RUN_DECISION_MAX_STEPS: usize = 100;
/// Signals that arrived before the node that waits for them.
pub const RUN_SIGNALS_MAX: usize = 100;
/// Longest durable timer.
pub const TIMER_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;
/// Expression source.
pub const EXPRESSION_MAX_BYTES: usize = 4 * 1024;
/// Expression nesting.
pub const EXPRESSION_MAX_DEPTH: usize = 32;
/// Tokens of one expression.
pub const EXPRESSION_MAX_TOKENS: usize = 512;
/// Height of an expression's tree (chains of operators and fields count, brackets do too).
pub const EXPRESSION_MAX_HEIGHT: usize = 128;
/// JSON text of the variables that one evaluation may look at.
pub const EXPRESSION_MAX_INPUT_BYTES: usize = NEEDS_MAX_BYTES + 256 * 1024;
/// Nested comprehensions in one expression.
pub const EXPRESSION_MAX_COMPREHENSIONS: usize = 3;
/// Evaluation steps of one expression.
pub const EXPRESSION_MAX_STEPS: u64 = 100_000;
/// Bytes of values that one evaluation may build.
pub const EXPRESSION_MAX_VALUE_BYTES: usize = 256 * 1024;
/// Texts and expressions that the value of one header may be put together of.
pub const HEADER_PARTS_MAX: usize = 16;
