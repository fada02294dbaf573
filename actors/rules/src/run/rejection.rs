//! Why a run refuses a command.

use crate::{decider::Refusal, definition::DefinitionError, rights::NotHandedOn};
use quipu_kinds::run::RunStatus;
use quipu_schemas::{limits, problem::Problem};

/// Why a run refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunRejection {
    /// The actor may not do this.
    #[error("only members of the org work with its runs")]
    NotAllowed,
    /// Whoever acts for somebody else names no third.
    #[error("{}", .0.problem().detail)]
    NotHandedOn(NotHandedOn),
    /// The run does not exist.
    #[error("the run does not exist")]
    NoSuchRun,
    /// The run exists.
    #[error("the run exists already")]
    AlreadyExists,
    /// The transition is not in the table.
    #[error("a run that is {} cannot become {}", .from.as_str(), .to.as_str())]
    IllegalTransition {
        /// Where it stands.
        from: RunStatus,
        /// Where it was asked to go.
        to: RunStatus,
    },
    /// The run is over, or not begun.
    #[error("the run is {}", .0.as_str())]
    NotUnderWay(RunStatus),
    /// The command is for turns.
    #[error("the run is not an agent's turn")]
    NotATurn,
    /// The command is for workflows.
    #[error("the run is an agent's turn, not a workflow")]
    NotAWorkflow,
    /// The definition is refused.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// Neither or both forms of the definition are given.
    #[error("exactly one of `definition` and `definition_text` is needed")]
    OneDefinition,
    /// An input that must come with `create` is missing.
    #[error("the input `{0}` is missing")]
    MissingInput(String),
    /// The definition has no such input.
    #[error("the definition has no input `{0}`")]
    UnknownInput(String),
    /// An input has the wrong type.
    #[error("the input `{name}` must be {wanted}")]
    WrongType {
        /// The input.
        name: String,
        /// The field that holds it.
        field: String,
        /// What is right.
        wanted: String,
    },
    /// An input was given before.
    #[error("the input `{0}` was already given")]
    InputGiven(String),
    /// An input takes no more values.
    #[error("the input `{0}` already has all its values")]
    InputClosed(String),
    /// A value is too large.
    #[error("`{0}` is too large: a value has at most {max} bytes", max = limits::VALUE_MAX_BYTES)]
    TooLarge(String),
    /// The run refers to as many bytes of values as it may.
    #[error("the run would refer to more than {max} bytes of values", max = limits::ENTITY_VALUES_MAX_BYTES)]
    ValuesFull,
    /// Too many inputs or signals wait.
    #[error("{depth} wait already")]
    QueueFull {
        /// How many wait.
        depth: u64,
    },
    /// There is no such node.
    #[error("the definition has no node `{0}`")]
    UnknownNode(String),
    /// The node does not wait for approval.
    #[error("node `{0}` does not wait for approval")]
    NotWaiting(String),
    /// The actor may not answer this approval.
    #[error("node `{0}` asks others for approval")]
    NotAnApprover(String),
    /// The node did not fail the run.
    #[error("node `{0}` did not fail this run")]
    NotFailed(String),
    /// A name is outside its grammar, or there are too many.
    #[error("not a name: `{0}`; use 1 to 64 of A-Z a-z 0-9 _ -")]
    BadName(String, &'static str),
    /// A reason is too long.
    #[error("a reason has at most {max} characters", max = limits::REASON_MAX_CHARS)]
    ReasonTooLong,
    /// A decision contradicted the fold: a defect of these rules.
    #[error("the decision contradicts the state: {0}")]
    Inconsistent(String),
}

impl From<NotHandedOn> for RunRejection {
    fn from(refused: NotHandedOn) -> Self {
        Self::NotHandedOn(refused)
    }
}

impl Refusal for RunRejection {
    fn problem(&self) -> Problem {
        let problem = |status: u16, code: &str, fix: &str| Problem::new(status, code, self.to_string()).fix(fix);
        match self {
            Self::NotAllowed => problem(403, "not_allowed", "ask an admin of the org to add you as a member"),
            Self::NotHandedOn(refused) => refused.problem().field("act_as"),
            Self::NoSuchRun => problem(404, "run_not_found", "create the run first"),
            Self::AlreadyExists => problem(409, "already_exists", "choose another id"),
            Self::IllegalTransition { .. } => problem(409, "illegal_transition", "look at the run's status first"),
            Self::NotUnderWay(_) => problem(409, "run_not_under_way", "only a run that is under way takes this"),
            Self::NotATurn => problem(409, "not_a_turn", "send this to the run of a turn"),
            Self::NotAWorkflow => problem(409, "not_a_workflow", "a turn takes pause, resume and cancel"),
            Self::Definition(error) => error.problem(),
            Self::OneDefinition => problem(422, "bad_definition", "give the definition as JSON or as text").field("definition"),
            Self::MissingInput(name) => problem(422, "missing_input", "give it").field(format!("input.{name}")),
            Self::UnknownInput(name) => problem(422, "unknown_input", "use an input of the definition").field(format!("input.{name}")),
            Self::WrongType { field, .. } => problem(422, "wrong_type", "give a value of that type").field(field.clone()),
            Self::InputGiven(_) => problem(409, "input_given", "an input takes one value unless it is declared `many`"),
            Self::InputClosed(_) => problem(409, "input_closed", "raise the count of the node that gathers them"),
            Self::TooLarge(field) => problem(422, "too_large", "send less, or a reference to it").field(field.clone()),
            Self::ValuesFull => problem(429, "values_full", "let the run finish what it has, then send again").retry_after(5),
            Self::QueueFull { depth } => {
                let mut full = problem(429, "queue_full", "resume the run, then send again").retry_after(5);
                full.queue_depth = Some(*depth);
                full
            }
            Self::UnknownNode(_) => problem(404, "unknown_node", "name a node of the definition"),
            Self::NotWaiting(_) => problem(409, "not_waiting", "look at the run's steps first"),
            Self::NotAnApprover(_) => problem(403, "not_an_approver", "ask one of its approvers"),
            Self::NotFailed(_) => problem(409, "not_failed", "name the node that failed the run"),
            Self::BadName(_, field) => problem(422, "bad_name", "choose another name").field(*field),
            Self::ReasonTooLong => problem(422, "reason_too_long", "shorten it").field("reason"),
            Self::Inconsistent(_) => problem(500, "inconsistent", "report this as a defect"),
        }
    }
}
