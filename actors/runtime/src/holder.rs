//! What a key or a session opens in an org: the rights of its principal, cut by its scope and by whoever stands between.
//!
//! For faces, which ask it before they read; commands are asked for where they are admitted.

use crate::kernel::refusals::missing_right;
use quipu_rules::{
    api_key::Tried,
    decider::Right,
    rights::{Asked, Cap, Chain, Charter, Lacking, Rights},
};
use quipu_schemas::{
    context::Millis,
    ids::{CredentialId, EntityId, Kind, OrgId, PrincipalId},
    problem::Problem,
    rights::{Capability, Target},
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// To speak for others.
const ACT_AS: Capability = Capability::named("principal.act_as");

/// What was shown.
#[derive(Clone, Copy)]
pub(crate) enum Shown {
    /// A key: one that was rotated does not stay open by its old text.
    Key {
        /// What its text is compared by.
        tried: Tried,
        /// The address, as far as it is known.
        from: Option<IpAddr>,
    },
    /// A session of the one who acts.
    Session {
        /// The address, as far as it is known.
        from: Option<IpAddr>,
    },
}

/// Whoever shows a key or a session, at one moment: rights change, and what lasts longer than a request asks again.
#[derive(Clone)]
pub struct Holder {
    /// The org that it opens.
    pub(crate) org: OrgId,
    /// The key or session.
    pub(crate) credential: CredentialId,
    /// What was shown of it.
    pub(crate) shown: Shown,
    /// As whom it acts.
    pub(crate) principal: PrincipalId,
    /// Whether the org knows that principal: a member, or somebody who was given something.
    pub(crate) is_known: bool,
    /// What that principal holds.
    pub(crate) rights: Rights,
    /// What it is cut to.
    pub(crate) scope: Rights,
    /// What the sessions are cut to that it was made from.
    pub(crate) wider: Vec<Rights>,
    /// What those hold who act by it for its principal.
    pub(crate) actors: Vec<Rights>,
    /// On whose behalf, and what they hold.
    pub(crate) on_behalf_of: Option<(PrincipalId, Rights)>,
    /// The rights that there are.
    pub(crate) charter: Arc<Charter>,
}

/// Parts of an org on which a right is held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldOn {
    /// Projects: the right holds for what belongs to them.
    pub projects: Vec<EntityId>,
    /// Entities of the kind that was asked about.
    pub entities: Vec<EntityId>,
}

impl HeldOn {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.projects.is_empty() && self.entities.is_empty()
    }
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Holder({} of {}, by {})", self.principal, self.org, self.credential)
    }
}

impl Holder {
    /// Whoever holds these capabilities and no other: for tests of faces.
    pub fn of(org: OrgId, credential: CredentialId, principal: PrincipalId, capabilities: impl IntoIterator<Item = Capability>) -> Self {
        let capabilities: Vec<Capability> = capabilities.into_iter().collect();
        let charter = Charter::new([], capabilities.clone());
        let held = capabilities.iter().filter_map(|capability| charter.catalogue().cap(capability));
        let held = Arc::new(held.collect());
        Self {
            org,
            credential,
            shown: Shown::Key {
                tried: Tried::from(&[0; 32]),
                from: None,
            },
            principal,
            is_known: true,
            rights: Rights::new(held, vec![]),
            scope: Rights::All,
            wider: Vec::new(),
            actors: Vec::new(),
            on_behalf_of: None,
            charter: Arc::new(charter),
        }
    }

    /// The org that it opens.
    pub fn org(&self) -> &OrgId {
        &self.org
    }

    /// The key or session.
    pub fn credential(&self) -> &CredentialId {
        &self.credential
    }

    /// As whom it acts.
    pub fn principal(&self) -> &PrincipalId {
        &self.principal
    }

    /// For whom it speaks, where that is somebody else.
    pub fn speaks_for(&self) -> Option<&PrincipalId> {
        self.on_behalf_of.as_ref().map(|(principal, _)| principal)
    }

    /// Whether the org knows the one who acts: a member, or somebody who was given something.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether a right is held.
    pub fn holds(&self, right: &Capability, on: Option<(&Kind, &EntityId)>, now: Millis) -> bool {
        self.permits(right, on, now).is_ok()
    }

    /// The same; a refusal says who lacks which right.
    pub fn ask(&self, right: &Capability, on: Option<(&Kind, &EntityId)>, now: Millis) -> Result<(), Problem> {
        self.permits(right, on, now).map_err(|lacking| missing_right(right, lacking))
    }

    /// Whether a command may be sent at all, before its body is read: who may not is told so, and not what is wrong with it. Where
    /// the rules of its kind decide who may, only the key's scope counts here, and whoever sends it for somebody else. The kernel asks again, and by what it knows then.
    pub fn ask_command(&self, kind: &Kind, command: &str, id: Option<&EntityId>, now: Millis) -> Result<(), Problem> {
        let Some(takes) = self.charter.command(kind, command) else {
            return Ok(());
        };
        let right = Capability::of_command(kind, command);
        let on = id.map(|id| (kind, id));
        let permitted = match takes.right {
            Right::Role(_) => self.permits(&right, on, now),
            Right::Rules => self.own(takes.cap, on, now),
        };
        // What belongs to a project its entity knows, so that the kernel asks for it alone.
        let principal = self.on_behalf_of.as_ref().map_or(&self.rights, |(_, theirs)| theirs);
        let permitted = permitted.or_else(|lacking| match lacking {
            Lacking::Principal if principal.may_hold_within(takes.cap, now) => Ok(()),
            lacking => Err(lacking),
        });
        permitted.map_err(|lacking| missing_right(&right, lacking))
    }

    /// Whether a right is held on an entity that belongs to a project.
    pub fn holds_within(&self, right: &Capability, on: (&Kind, &EntityId), project: &EntityId, now: Millis) -> bool {
        self.permits_within(right, Some(on), Some(project), now).is_ok()
    }

    /// On which of an org's projects, and on which entities of a kind, a right is held; for whoever does not hold it on all of them. As many
    /// as there are grants, whatever the org holds.
    pub fn held_on(&self, right: &Capability, kind: &Kind, now: Millis) -> HeldOn {
        let Some(cap) = self.charter.catalogue().cap(right) else {
            return HeldOn::default();
        };
        let theirs = self.on_behalf_of.as_ref().map(|(_, theirs)| theirs);
        let links = [&self.rights, &self.scope]
            .into_iter()
            .chain(theirs)
            .chain(&self.wider)
            .chain(&self.actors);
        let targets: BTreeSet<&Target> = links.flat_map(|rights| rights.given_on(cap, now)).collect();
        let mut held = HeldOn::default();
        for target in targets {
            match target {
                Target::Project(id) if self.permits_within(right, None, Some(id), now).is_ok() => held.projects.push(id.clone()),
                Target::Entity(of, id) if of == kind && self.holds(right, Some((of, id)), now) => held.entities.push(id.clone()),
                Target::Org | Target::Application(_) | Target::Project(_) | Target::Entity(..) => {}
            }
        }
        held
    }

    /// What the credential holds, and its principal where they speak for somebody else: whatever that one may.
    fn own(&self, cap: Cap, on: Option<(&Kind, &EntityId)>, now: Millis) -> Result<(), Lacking> {
        let sender = self.on_behalf_of.is_some().then_some(&self.rights);
        self.chained(&Rights::All, sender, cap, (on, None), now)
    }

    fn chained(
        &self,
        principal: &Rights,
        sender: Option<&Rights>,
        cap: Cap,
        (entity, project): (Option<(&Kind, &EntityId)>, Option<&EntityId>),
        now: Millis,
    ) -> Result<(), Lacking> {
        let asked = Asked {
            cap,
            entity,
            application: None,
            project,
            now,
        };
        let actors: Vec<&Rights> = sender.into_iter().chain(&self.actors).collect();
        let chain = Chain {
            principal,
            scope: Some(&self.scope),
            actors: &actors,
        };
        chain.permits(&asked)?;
        if self.wider.iter().all(|scope| scope.holds(&asked)) {
            Ok(())
        } else {
            Err(Lacking::Scope)
        }
    }

    /// Whether they may still speak for whom they speak.
    pub(crate) fn may_speak(&self, now: Millis) -> bool {
        let cap = self.charter.catalogue().cap(&ACT_AS);
        self.on_behalf_of.is_none() || cap.is_some_and(|cap| self.own(cap, None, now).is_ok())
    }

    /// Whether everybody whose rights count holds it. One that the node does not know is held by nobody.
    fn permits(&self, right: &Capability, on: Option<(&Kind, &EntityId)>, now: Millis) -> Result<(), Lacking> {
        self.permits_within(right, on, None, now)
    }

    fn permits_within(
        &self,
        right: &Capability,
        on: Option<(&Kind, &EntityId)>,
        project: Option<&EntityId>,
        now: Millis,
    ) -> Result<(), Lacking> {
        let cap = self.charter.catalogue().cap(right).ok_or(Lacking::Principal)?;
        match &self.on_behalf_of {
            None => self.chained(&self.rights, None, cap, (on, project), now),
            Some((_, theirs)) => self.chained(theirs, Some(&self.rights), cap, (on, project), now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_rules::rights::{Held, Limited};
    use quipu_schemas::{rights::Pattern, role::Role};

    fn charter() -> Arc<Charter> {
        let reads = ["cap:run.read", "cap:agent.read", "cap:message.read"];
        Arc::new(Charter::new([], reads.iter().map(|text| text.parse().unwrap())))
    }

    fn compiled(patterns: &[&str]) -> Arc<Held> {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
        let charter = charter();
        Arc::new(charter.roles([]).compile(&patterns, charter.catalogue()))
    }

    /// Ada of `acme`, who holds this.
    fn holder(patterns: &[&str]) -> Holder {
        let key = "api-key/key_1".parse().unwrap();
        Holder {
            rights: Rights::new(compiled(patterns), vec![]),
            charter: charter(),
            ..Holder::of(OrgId::from_static("acme"), key, PrincipalId::from_static("ada"), [])
        }
    }

    fn read(family: &str) -> Capability {
        format!("cap:{family}.read").parse().unwrap()
    }

    #[test]
    fn rights_are_cut_by_scope_and_by_whoever_acts() {
        let ada = holder(&["cap:run.read", "cap:agent.read", "cap:principal.act_as"]);
        assert!(ada.holds(&read("run"), None, 0) && !ada.holds(&read("message"), None, 0));
        assert!(!ada.holds(&read("unheard-of"), None, 0));
        let narrow = Holder {
            scope: Rights::new(compiled(&["cap:run.*"]), vec![]),
            ..ada.clone()
        };
        assert!(narrow.holds(&read("run"), None, 0) && !narrow.holds(&read("agent"), None, 0));
        let bob = |patterns: &[&str]| (PrincipalId::from_static("bob"), Rights::new(compiled(patterns), vec![]));
        let for_bob = Holder {
            on_behalf_of: Some(bob(&["cap:run.read", "cap:message.read"])),
            ..ada
        };
        assert!(for_bob.holds(&read("run"), None, 0));
        assert!(!for_bob.holds(&read("message"), None, 0), "only bob holds it");
        assert!(!for_bob.holds(&read("agent"), None, 0), "only ada holds it");
    }

    #[test]
    fn who_speaks_for_another_is_asked_where_rules_decide() {
        let charter = Arc::new(Charter::new([(Kind::RUN, "approve".into(), Right::Rules)], []));
        let with = |patterns: &[&str]| {
            let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
            let held = charter.roles([]).compile(&patterns, charter.catalogue());
            Holder {
                rights: Rights::new(Arc::new(held), vec![]),
                charter: charter.clone(),
                on_behalf_of: Some((PrincipalId::from_static("bob"), Rights::none())),
                ..holder(&[])
            }
        };
        let may = |holder: &Holder| holder.ask_command(&Kind::RUN, "approve", None, 0).is_ok();
        assert!(!may(&with(&["cap:principal.act_as"])));
        assert!(may(&with(&["cap:run.approve"])));
        assert!(with(&["cap:principal.act_as"]).may_speak(0));
        assert!(!with(&["cap:run.approve"]).may_speak(0), "what was taken meanwhile");
        let alone = Holder {
            on_behalf_of: None,
            ..with(&[])
        };
        assert!(may(&alone) && alone.may_speak(0));
    }

    #[test]
    fn a_grant_on_a_project_holds_for_what_belongs_to_it() {
        let charter = Arc::new(Charter::new([(Kind::ENTITY, "rename".into(), Right::Role(Role::Admin))], []));
        let patterns: Vec<Pattern> = vec!["cap:entity.*".parse().unwrap()];
        let limited = Limited {
            held: Arc::new(charter.roles([]).compile(&patterns, charter.catalogue())),
            on: Target::Project(EntityId::from_static("p1")),
            until: Some(100),
        };
        let ada = Holder {
            rights: Rights::new(Arc::default(), vec![limited]),
            charter,
            ..holder(&[])
        };
        let (kind, one) = (Kind::ENTITY, EntityId::from_static("ent_1"));
        let (within, other) = (EntityId::from_static("p1"), EntityId::from_static("p2"));
        assert!(ada.holds_within(&read("entity"), (&kind, &one), &within, 99));
        assert!(!ada.holds_within(&read("entity"), (&kind, &one), &within, 100));
        assert!(!ada.holds_within(&read("entity"), (&kind, &one), &other, 0));
        assert!(!ada.holds(&read("entity"), Some((&kind, &one)), 0));
        let parts = |now| ada.held_on(&read("entity"), &kind, now);
        assert_eq!((parts(99).projects, parts(99).entities), (vec![within.clone()], vec![]));
        assert!(parts(100).is_empty());
        let cut = Holder {
            scope: Rights::none(),
            ..ada.clone()
        };
        assert!(
            cut.held_on(&read("entity"), &kind, 0).is_empty(),
            "a credential that is cut opens no project either"
        );
        // Its face lets the command pass to the kernel, which knows the project.
        assert!(ada.ask_command(&kind, "rename", Some(&one), 99).is_ok());
        assert!(ada.ask_command(&kind, "rename", Some(&one), 100).is_err());
    }

    #[test]
    fn a_grant_on_one_entity_holds_there_until_its_time() {
        let (kind, one, two) = (Kind::RUN, EntityId::from_static("r1"), EntityId::from_static("r2"));
        let limited = Limited {
            held: compiled(&["cap:run.read"]),
            on: Target::Entity(kind.clone(), one.clone()),
            until: Some(100),
        };
        let ada = Holder {
            rights: Rights::new(Arc::default(), vec![limited]),
            ..holder(&[])
        };
        assert!(ada.holds(&read("run"), Some((&kind, &one)), 99));
        assert!(!ada.holds(&read("run"), Some((&kind, &one)), 100));
        assert!(!ada.holds(&read("run"), Some((&kind, &two)), 0));
        assert!(!ada.holds(&read("run"), None, 0));
    }
}
