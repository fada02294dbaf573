//! Rules of a project: a part of an org on which rights can be granted.

use crate::{
    decider::{AskedOf, Corrupt, Decider, Decision, NoWord, Refusal, Right},
    text,
};
use quipu_kinds::project::{AddApplication, ArchiveProject, CreateProject, ProjectCommand, ProjectEvent, RemoveApplication, RenameProject};
use quipu_schemas::{
    context::Context,
    ids::EntityId,
    limits::{NAME_MAX_CHARS, PROJECT_APPLICATIONS_MAX, REASON_MAX_CHARS},
    problem::Problem,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The kind `project`.
pub struct Project;

/// State of a project.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProjectState {
    /// Not begun.
    #[default]
    Missing,
    /// Under way.
    Active(Begun),
    /// Ended.
    Archived {
        /// The project as it was.
        project: Begun,
        /// Why.
        reason: String,
    },
}

/// A project that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Begun {
    /// Display name.
    pub name: String,
    /// The applications that are of it.
    pub applications: BTreeSet<EntityId>,
}

/// Why a project stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectRejection {
    /// It was begun.
    Exists(EntityId),
    /// It was never begun.
    NotFound(EntityId),
    /// It has ended.
    Archived(EntityId),
    /// The name is out of bounds.
    BadName,
    /// The reason is too long.
    BadReason,
    /// The application is not of it.
    NoSuchApplication(EntityId),
    /// It has as many applications as there may be.
    TooManyApplications,
}

impl Refusal for ProjectRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::Exists(id) => Problem::new(409, "project_exists", format!("project {id} exists")).fix("choose another id"),
            Self::NotFound(id) => Problem::new(404, "project_not_found", format!("project {id} does not exist")).fix("create it first"),
            Self::Archived(id) => Problem::new(409, "project_archived", format!("project {id} is archived")).fix("create another project"),
            Self::BadName => Problem::new(422, "bad_name", format!("a name has 1 to {NAME_MAX_CHARS} printable characters"))
                .field("name")
                .fix("use at most so many characters, some of them visible, and no line breaks or direction overrides"),
            Self::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
            Self::NoSuchApplication(id) => Problem::new(404, "not_in_project", format!("application {id} is not of this project"))
                .field("application")
                .fix("see its applications in the view `project-applications`"),
            Self::TooManyApplications => Problem::new(
                409,
                "too_many_applications",
                format!("a project has at most {PROJECT_APPLICATIONS_MAX} applications"),
            )
            .field("application")
            .fix("begin another project"),
        }
    }
}

impl Decider for Project {
    const KIND: &'static str = "project";
    const RULES_VERSION: u32 = 1;
    type State = ProjectState;
    type Command = ProjectCommand;
    type Word = NoWord;
    type Event = ProjectEvent;
    type Rejection = ProjectRejection;

    fn initial() -> ProjectState {
        ProjectState::Missing
    }

    fn decide(state: &ProjectState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<ProjectEvent>, ProjectRejection> {
        let id = || context.stream.id.clone();
        match (state, asked.command()) {
            (ProjectState::Missing, ProjectCommand::Create(CreateProject { name })) => {
                check_name(name)?;
                Ok(Decision::one(ProjectEvent::Created { name: name.clone() }))
            }
            (ProjectState::Missing, _) => Err(ProjectRejection::NotFound(id())),
            (ProjectState::Active(_) | ProjectState::Archived { .. }, ProjectCommand::Create(_)) => Err(ProjectRejection::Exists(id())),
            (ProjectState::Archived { .. }, ProjectCommand::Archive(_)) => Ok(Decision::Unchanged),
            (ProjectState::Archived { .. }, _) => Err(ProjectRejection::Archived(id())),
            (ProjectState::Active(project), command) => decide_active(project, command),
        }
    }

    fn evolve(state: ProjectState, event: &ProjectEvent) -> Result<ProjectState, Corrupt> {
        match (state, event) {
            (ProjectState::Missing, ProjectEvent::Created { name }) => Ok(ProjectState::Active(Begun {
                name: name.clone(),
                applications: BTreeSet::new(),
            })),
            (ProjectState::Active(project), ProjectEvent::Renamed { name }) => Ok(ProjectState::Active(Begun {
                name: name.clone(),
                ..project
            })),
            (ProjectState::Active(mut project), ProjectEvent::ApplicationAdded { application }) => {
                project.applications.insert(application.clone());
                Ok(ProjectState::Active(project))
            }
            (ProjectState::Active(mut project), ProjectEvent::ApplicationRemoved { application }) => {
                project.applications.remove(application);
                Ok(ProjectState::Active(project))
            }
            (ProjectState::Active(project), ProjectEvent::Archived { reason }) => Ok(ProjectState::Archived {
                project,
                reason: reason.clone(),
            }),
            (state, event) => Err(Corrupt(format!("{event:?} of a project that is {state:?}"))),
        }
    }

    fn right(_command: &str) -> Right {
        Right::Role(Role::Admin)
    }
}

fn check_name(name: &str) -> Result<(), ProjectRejection> {
    if text::is_display_name(name) {
        Ok(())
    } else {
        Err(ProjectRejection::BadName)
    }
}

fn decide_active(project: &Begun, command: &ProjectCommand) -> Result<Decision<ProjectEvent>, ProjectRejection> {
    match command {
        // Decided before.
        ProjectCommand::Create(_) => Ok(Decision::Unchanged),
        ProjectCommand::Rename(RenameProject { name }) => {
            check_name(name)?;
            if project.name == *name {
                return Ok(Decision::Unchanged);
            }
            Ok(Decision::one(ProjectEvent::Renamed { name: name.clone() }))
        }
        ProjectCommand::AddApplication(AddApplication { application }) => {
            if project.applications.contains(application) {
                return Ok(Decision::Unchanged);
            }
            if project.applications.len() >= PROJECT_APPLICATIONS_MAX {
                return Err(ProjectRejection::TooManyApplications);
            }
            Ok(Decision::one(ProjectEvent::ApplicationAdded {
                application: application.clone(),
            }))
        }
        ProjectCommand::RemoveApplication(RemoveApplication { application }) => {
            if !project.applications.contains(application) {
                return Err(ProjectRejection::NoSuchApplication(application.clone()));
            }
            Ok(Decision::one(ProjectEvent::ApplicationRemoved {
                application: application.clone(),
            }))
        }
        ProjectCommand::Archive(ArchiveProject { reason }) => {
            if !text::is_reason(reason) {
                return Err(ProjectRejection::BadReason);
            }
            Ok(Decision::one(ProjectEvent::Archived { reason: reason.clone() }))
        }
    }
}

#[cfg(test)]
mod tests;
