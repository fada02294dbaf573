//! Supervises one partition's relay and entities: a crash drops the entity, which recovers from the log.

use crate::{
    core::Core,
    relay_actor::{RelayActor, RelayMsg},
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::sync::{Arc, atomic::Ordering};

pub(crate) enum PartitionMsg {
    /// A fresh relay, after the last one crashed.
    RestartRelay,
}

pub(crate) struct PartitionActor;

pub(crate) struct PartitionState {
    core: Arc<Core>,
    partition: u16,
    performers: Arc<crate::performers::Performers>,
    relay: ActorRef<RelayMsg>,
}

pub(crate) type PartitionArgs = (Arc<Core>, u16, Arc<crate::performers::Performers>);

impl Actor for PartitionActor {
    type Msg = PartitionMsg;
    type State = PartitionState;
    type Arguments = PartitionArgs;

    async fn pre_start(&self, myself: ActorRef<PartitionMsg>, (core, partition, performers): PartitionArgs) -> Result<PartitionState, ActorProcessingErr> {
        *crate::core::lock(&core.partition(partition).supervisor) = Some(myself.get_cell());
        let args = (core.clone(), partition, performers.clone());
        let (relay, _) = ractor::ActorRuntime::spawn_linked_instant(None, RelayActor, args, myself.get_cell())?;
        *crate::core::lock(&core.partition(partition).relay) = Some(relay.clone());
        Ok(PartitionState { core, partition, performers, relay })
    }

    async fn handle(&self, myself: ActorRef<PartitionMsg>, message: PartitionMsg, state: &mut PartitionState) -> Result<(), ActorProcessingErr> {
        match message {
            PartitionMsg::RestartRelay => {
                let args = (state.core.clone(), state.partition, state.performers.clone());
                let (relay, _) = ractor::ActorRuntime::spawn_linked_instant(None, RelayActor, args, myself.get_cell())?;
                *crate::core::lock(&state.core.partition(state.partition).relay) = Some(relay.clone());
                state.relay = relay;
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<PartitionMsg>,
        event: SupervisionEvent,
        state: &mut PartitionState,
    ) -> Result<(), ActorProcessingErr> {
        let (who, crash) = match event {
            SupervisionEvent::ActorFailed(who, error) => (who, Some(error.to_string())),
            SupervisionEvent::ActorTerminated(who, _, _) => (who, None),
            _ => return Ok(()),
        };
        let core = &state.core;
        if who.get_id() == state.relay.get_id() {
            if let Some(error) = crash
                && !core.stopping.load(Ordering::Acquire)
            {
                tracing::error!(partition = state.partition, error, "relay crashed; it starts again from the index");
                core.partition(state.partition).restarts.fetch_add(1, Ordering::Relaxed);
                myself.send_message(PartitionMsg::RestartRelay)?;
            }
            return Ok(());
        }
        if let Some(stream) = core.registry.find(who.get_id()) {
            core.registry.remove(&stream, who.get_id());
            if let Some(error) = crash {
                core.counters.crashed.fetch_add(1, Ordering::Relaxed);
                core.partition(state.partition).restarts.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%stream, error, "entity crashed; it recovers from the log with its next command");
            }
        }
        Ok(())
    }
}
