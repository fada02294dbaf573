//! Components that wait for time, a signal or a person.

use super::{ConfigFlaw, Look, Nature, NodeError, NodeInput, Port, PortType, Ports, Registry, Step, Template, TypedComponent, only, typed};
use quipu_kinds::run::{ApprovalAsked, NodeWork};
use quipu_schemas::{
    context::Millis,
    ids::PrincipalId,
    json::Json,
    limits::{REASON_MAX_CHARS, TIMER_MAX_MS},
    role::Role,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub(super) fn register(registry: &mut Registry) {
    registry.register(typed::<Delay>());
    registry.register(typed::<WaitSignal>());
    registry.register(typed::<WaitApproval>());
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DelayConfig {
    /// Milliseconds, a number or an expression (`=…`), at most 366 days.
    ms: Template,
}

struct Delay;
impl TypedComponent for Delay {
    type Config = DelayConfig;
    const NAME: &'static str = "delay";
    const ABOUT: &'static str = "Hands its input on after a time. The timer is durable: late rather than never, and once.";
    const NATURE: Nature = Nature::Waits;
    fn check(config: &DelayConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        config.ms.check("ms", &mut flaws);
        if config.ms.source().is_none() && config.ms.0.as_u64().is_none_or(|ms| ms > TIMER_MAX_MS) {
            flaws.push(ConfigFlaw::new(
                "ms",
                "bad_config",
                format!("a whole number from 0 to {TIMER_MAX_MS}, or an expression `=…`"),
            ));
        }
        flaws
    }
    fn looks(config: &DelayConfig) -> Vec<Look<'_>> {
        let mut looks = Vec::new();
        config.ms.looks(true, &mut looks);
        looks
    }
    fn ports(_: &DelayConfig) -> Ports {
        Ports {
            inputs: vec![Port::optional("in", PortType::Any)],
            outputs: vec![Port::one("out", PortType::Any)],
        }
    }
    fn start(config: DelayConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        let (ms, _) = config.ms.render_open(input)?;
        let ms = ms.as_u64().filter(|ms| *ms <= TIMER_MAX_MS).ok_or_else(|| {
            NodeError::new(
                "bad_delay",
                format!("the delay came to `{ms}`; a whole number from 0 to {TIMER_MAX_MS} is needed"),
            )
        })?;
        Ok(Step::Wait(NodeWork::Timer {
            due: input.now.saturating_add(ms),
            outputs: only("out", input.value()),
        }))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WaitSignalConfig {
    /// The signal's name.
    signal: String,
    /// Milliseconds after which the node fails with `timeout`.
    #[serde(default)]
    timeout_ms: Option<u64>,
}

struct WaitSignal;
impl TypedComponent for WaitSignal {
    type Config = WaitSignalConfig;
    const NAME: &'static str = "wait_signal";
    const ABOUT: &'static str = "Waits for a signal and hands its payload on. A signal that came before is taken at once.";
    const NATURE: Nature = Nature::Waits;
    fn check(config: &WaitSignalConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        if config.signal.is_empty() || config.signal.len() > 64 {
            flaws.push(ConfigFlaw::new("signal", "bad_config", "a signal's name has 1 to 64 bytes"));
        }
        check_timeout(config.timeout_ms, &mut flaws);
        flaws
    }
    fn ports(_: &WaitSignalConfig) -> Ports {
        Ports {
            inputs: vec![Port::optional("in", PortType::Any)],
            outputs: vec![Port::one("out", PortType::Any)],
        }
    }
    fn start(config: WaitSignalConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        Ok(Step::Wait(NodeWork::Signal {
            name: config.signal,
            expires_at: expiry(config.timeout_ms, input.now),
        }))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WaitApprovalConfig {
    /// Who may answer.
    #[serde(default)]
    approvers: Vec<PrincipalId>,
    /// Members of at least this role may answer too. Without approvers and role: admins.
    #[serde(default)]
    role: Option<Role>,
    /// What is asked, a text or an expression (`=…`), at most 500 characters.
    #[serde(default)]
    prompt: Option<Template>,
    /// Milliseconds after which the node fails with `timeout`.
    #[serde(default)]
    timeout_ms: Option<u64>,
}

struct WaitApproval;
impl TypedComponent for WaitApproval {
    type Config = WaitApprovalConfig;
    const NAME: &'static str = "wait_approval";
    const ABOUT: &'static str =
        "Waits for a person: hands its input on at `approved` or `rejected`; without an edge there a refusal fails the node.";
    const NATURE: Nature = Nature::Waits;
    fn check(config: &WaitApprovalConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        if config.approvers.len() > 100 {
            flaws.push(ConfigFlaw::new("approvers", "bad_config", "at most 100 approvers"));
        }
        if let Some(prompt) = &config.prompt {
            prompt.check("prompt", &mut flaws);
            if !prompt.0.is_string() || prompt.literal().is_some_and(|t| t.chars().count() > REASON_MAX_CHARS) {
                flaws.push(ConfigFlaw::new(
                    "prompt",
                    "bad_config",
                    format!("a text of at most {REASON_MAX_CHARS} characters"),
                ));
            }
        }
        check_timeout(config.timeout_ms, &mut flaws);
        flaws
    }
    fn looks(config: &WaitApprovalConfig) -> Vec<Look<'_>> {
        let mut looks = Vec::new();
        config.prompt.iter().for_each(|prompt| prompt.looks(true, &mut looks));
        looks
    }
    fn ports(_: &WaitApprovalConfig) -> Ports {
        Ports {
            inputs: vec![Port::optional("in", PortType::Any)],
            outputs: vec![Port::one("approved", PortType::Any), Port::one("rejected", PortType::Any)],
        }
    }
    fn start(config: WaitApprovalConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        let prompt = match &config.prompt {
            Some(prompt) => {
                let (text, whose) = prompt.render_text("prompt", input)?;
                let text = Value::String(text.chars().take(REASON_MAX_CHARS).collect());
                if whose.is_empty() {
                    text
                } else {
                    input.values.close(text, &whose)?
                }
            }
            None => Value::String(String::new()),
        };
        Ok(Step::Wait(NodeWork::Approval(ApprovalAsked {
            approvers: config.approvers,
            role: config.role,
            prompt: Json(prompt),
            expires_at: expiry(config.timeout_ms, input.now),
            subject: Json(input.value()),
            rejected_port: input.connected.iter().any(|port| port == "rejected"),
        })))
    }
}

fn check_timeout(timeout_ms: Option<u64>, flaws: &mut Vec<ConfigFlaw>) {
    if timeout_ms.is_some_and(|ms| ms == 0 || ms > TIMER_MAX_MS) {
        flaws.push(ConfigFlaw::new("timeout_ms", "bad_config", format!("1 to {TIMER_MAX_MS}")));
    }
}

fn expiry(timeout_ms: Option<u64>, now: Millis) -> Option<Millis> {
    timeout_ms.map(|ms| now.saturating_add(ms))
}
