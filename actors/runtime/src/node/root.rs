//! The root of the supervision tree.

use crate::{
    core::Core,
    partition_actor::{PartitionActor, PartitionArgs},
    performers::Performers,
};
use quipu_events::leases::Leases;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::sync::{Arc, atomic::Ordering};

/// The root of the tree: supervises the partitions and starts a crashed one again.
pub(super) struct RootActor;

#[derive(Clone)]
pub(super) struct RootArgs {
    pub(super) core: Arc<Core>,
    pub(super) performers: Arc<Performers>,
    pub(super) leases: Arc<dyn Leases>,
    pub(super) owner: Arc<str>,
}

impl RootArgs {
    async fn start(&self, partition: u16, root: ActorCell) -> Result<ActorCell, ActorProcessingErr> {
        let Self {
            core,
            performers,
            leases,
            owner,
        } = self.clone();
        let args = PartitionArgs {
            core,
            partition,
            performers,
            leases,
            owner,
        };
        let (actor, _) = Actor::spawn_linked(None, PartitionActor, args, root).await?;
        Ok(actor.get_cell())
    }
}

pub(super) struct RootState {
    args: RootArgs,
    partitions: Vec<ActorCell>,
}

impl Actor for RootActor {
    type Msg = ();
    type State = RootState;
    type Arguments = RootArgs;

    async fn pre_start(&self, myself: ActorRef<()>, args: RootArgs) -> Result<RootState, ActorProcessingErr> {
        let mut partitions = Vec::new();
        for partition in 0..args.core.meta.partitions {
            partitions.push(args.start(partition, myself.get_cell()).await?);
        }
        Ok(RootState { args, partitions })
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let core = &state.args.core;
        if let SupervisionEvent::ActorFailed(who, error) = event
            && !core.stopping.load(Ordering::Acquire)
            && let Some(partition) = state.partitions.iter().position(|cell| cell.get_id() == who.get_id())
        {
            tracing::error!(partition, %error, "partition supervisor crashed; it claims the partition and starts again");
            core.abandon(partition as u16);
            state.partitions[partition] = state.args.start(partition as u16, myself.get_cell()).await?;
        }
        Ok(())
    }
}
