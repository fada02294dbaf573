use super::*;
use crate::scene::{As, Scene, as_role};

fn admin() -> As {
    as_role("ada", Some(Role::Admin))
}
fn create(name: &str) -> ProjectCommand {
    ProjectCommand::Create(CreateProject { name: name.into() })
}
fn rename(name: &str) -> ProjectCommand {
    ProjectCommand::Rename(RenameProject { name: name.into() })
}
fn add(application: &str) -> ProjectCommand {
    ProjectCommand::AddApplication(AddApplication {
        application: EntityId::parse(application).unwrap(),
    })
}
fn remove(application: &str) -> ProjectCommand {
    ProjectCommand::RemoveApplication(RemoveApplication {
        application: EntityId::parse(application).unwrap(),
    })
}
fn archive(reason: &str) -> ProjectCommand {
    ProjectCommand::Archive(ArchiveProject { reason: reason.into() })
}

#[test]
fn a_project_lists_its_applications_until_it_is_archived() {
    let mut scene: Scene<Project> = Scene::new("acme/project/p1");
    scene.refused(&admin(), add("a1"), 404, "project_not_found");
    scene.ok(&admin(), create("Site"));
    scene.refused(&admin(), create("Site"), 409, "project_exists");
    scene.ok(&admin(), rename("Shop"));
    scene.unchanged(&admin(), rename("Shop"));
    scene.ok(&admin(), add("a1"));
    scene.unchanged(&admin(), add("a1"));
    scene.ok(&admin(), add("a2"));
    scene.ok(&admin(), remove("a1"));
    scene.refused(&admin(), remove("a1"), 404, "not_in_project");
    scene.ok(&admin(), archive("done"));
    scene.unchanged(&admin(), archive("again"));
    scene.refused(&admin(), rename("Other"), 409, "project_archived");
    let ProjectState::Archived { project, reason } = &scene.state else {
        panic!("{:?}", scene.state)
    };
    assert_eq!(
        (project.name.as_str(), project.applications.len(), reason.as_str()),
        ("Shop", 1, "done")
    );
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let mut scene: Scene<Project> = Scene::new("acme/project/p1");
    scene.refused(&admin(), create(""), 422, "bad_name");
    scene.ok(&admin(), create("Site"));
    scene.refused(&admin(), rename("a\nb"), 422, "bad_name");
    scene.refused(&admin(), archive(&"x".repeat(REASON_MAX_CHARS + 1)), 422, "bad_reason");
    for n in 0..PROJECT_APPLICATIONS_MAX {
        scene.ok(&admin(), add(&format!("a{n}")));
    }
    scene.refused(&admin(), add("more"), 409, "too_many_applications");
}
