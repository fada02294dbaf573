//! How an attempt ends, before the outbox hears of it.

use crate::{
    breaker::Health,
    providers::NoAnswer,
    secrets::SecretError,
    wire::{
        blot::Blot,
        client::{Reached, Trouble},
        status::{health_of, may_mend},
    },
};
use quipu_schemas::{personal::SealError, reaction::Outcome};
use reqwest::StatusCode;

/// An attempt's end with what it says about its destination.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Final.
    Done(Box<Outcome>, Health),
    /// Another attempt may mend it.
    Again {
        code: String,
        detail: String,
        retry_after_ms: Option<u64>,
        health: Health,
    },
}

impl Ending {
    /// Final.
    pub(crate) fn done(outcome: Outcome, health: Health) -> Self {
        Ending::Done(Box::new(outcome), health)
    }

    /// A failure that repetition does not mend.
    pub(crate) fn failed(code: impl Into<String>, detail: impl Into<String>, health: Health) -> Self {
        Ending::done(
            Outcome::Failed {
                code: code.into(),
                detail: detail.into(),
            },
            health,
        )
    }

    /// No answer. An unrepeatable request that may have arrived is lost: nobody knows.
    pub(crate) fn of_trouble(trouble: Trouble, repeatable: bool) -> Self {
        match trouble.reached {
            Reached::Never => Self::failed(trouble.code, trouble.detail, Health::Unknown),
            Reached::Perhaps if !repeatable => {
                let detail = Some(trouble.detail);
                Ending::done(Outcome::Lost { detail }, Health::Down)
            }
            Reached::NotYet | Reached::Perhaps => Ending::Again {
                code: trouble.code.into(),
                detail: trouble.detail,
                retry_after_ms: None,
                health: Health::Down,
            },
        }
    }

    /// Without the secrets that its texts may have taken from an answer.
    pub(crate) fn blotted(self, blot: &Blot) -> Self {
        match self {
            Ending::Done(outcome, health) => {
                let outcome = match *outcome {
                    Outcome::Failed { code, detail } => Outcome::Failed {
                        code: blot.text(&code),
                        detail: blot.text(&detail),
                    },
                    Outcome::Lost { detail } => Outcome::Lost {
                        detail: detail.map(|detail| blot.text(&detail)),
                    },
                    other => other,
                };
                Ending::done(outcome, health)
            }
            Ending::Again {
                code,
                detail,
                retry_after_ms,
                health,
            } => Ending::Again {
                code: blot.text(&code),
                detail: blot.text(&detail),
                retry_after_ms,
                health,
            },
        }
    }

    /// A status other than the wanted ones; `note` is a word of the receiver's, safe to keep.
    pub(crate) fn of_status(status: StatusCode, peer: &str, note: Option<&str>, retry_after_ms: Option<u64>, repeatable: bool) -> Self {
        let code = format!("status_{}", status.as_u16());
        let detail = match note {
            Some(note) => format!("{peer} answered {} ({note})", status.as_u16()),
            None => format!("{peer} answered {}", status.as_u16()),
        };
        let health = health_of(status);
        if may_mend(status, repeatable) {
            Ending::Again {
                code,
                detail,
                retry_after_ms,
                health,
            }
        } else {
            Self::failed(code, detail, health)
        }
    }
}

impl From<SecretError> for Ending {
    fn from(error: SecretError) -> Self {
        NoAnswer::from(error).into()
    }
}

impl From<NoAnswer> for Ending {
    fn from(no: NoAnswer) -> Self {
        let NoAnswer {
            code,
            detail,
            again,
            retry_after_ms,
            health,
        } = no;
        match again {
            true => Ending::Again {
                code,
                detail,
                retry_after_ms,
                health,
            },
            false => Self::failed(code, detail, health),
        }
    }
}

impl From<SealError> for Ending {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Store(_) => Ending::Again {
                code: "key_store".into(),
                detail: error.to_string(),
                retry_after_ms: None,
                health: Health::Unknown,
            },
            SealError::Full(_) => Ending::Again {
                code: "storage_full".into(),
                detail: error.to_string(),
                retry_after_ms: None,
                health: Health::Unknown,
            },
            SealError::Unreachable(_) => Ending::Again {
                code: "blob_unavailable".into(),
                detail: error.to_string(),
                retry_after_ms: None,
                health: Health::Unknown,
            },
            SealError::Missing(_) | SealError::TooLarge { .. } | SealError::NotShared { .. } | SealError::NotBrought(_) => {
                let problem = error.problem();
                Self::failed(&problem.code, problem.detail, Health::Unknown)
            }
            SealError::Erased(_) => Self::failed("value_erased", error.to_string(), Health::Unknown),
            SealError::Damaged(_) | SealError::Form(..) | SealError::Withheld => {
                Self::failed("sealed_damaged", error.to_string(), Health::Unknown)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_repeated_only_where_that_is_harmless() {
        let perhaps = || Trouble::timeout("answer", 5);
        assert!(matches!(Ending::of_trouble(perhaps(), true), Ending::Again { .. }));
        assert!(
            matches!(Ending::of_trouble(perhaps(), false), Ending::Done(outcome, _) if matches!(&*outcome, Outcome::Lost { detail: Some(why) } if why == "no answer within 5 ms"))
        );
        let not_yet = Trouble {
            reached: Reached::NotYet,
            ..perhaps()
        };
        assert!(matches!(Ending::of_trouble(not_yet, false), Ending::Again { .. }));
        assert!(matches!(
            Ending::of_trouble(Trouble::refused("x", "y"), true),
            Ending::Done(_, Health::Unknown)
        ));
    }

    #[test]
    fn what_an_attempt_ended_with_names_no_secret() {
        let blot = Blot::new(["hunter2"]);
        let lost = Ending::of_trouble(Trouble::timeout("answer from hunter2:80", 5), false);
        let Ending::Done(outcome, _) = lost.blotted(&blot) else { panic!() };
        assert_eq!(
            *outcome,
            Outcome::Lost {
                detail: Some("no answer from [secret]:80 within 5 ms".into())
            }
        );
        let Ending::Again { code, detail, .. } = Ending::of_trouble(Trouble::timeout("hunter2", 5), true).blotted(&blot) else {
            panic!()
        };
        assert_eq!((code.as_str(), detail.as_str()), ("timeout", "no [secret] within 5 ms"));
    }
}
