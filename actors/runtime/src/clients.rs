//! Clients of OAuth, as faces meet them: the rules of an application say what it is and may do.

pub use quipu_rules::application::{App, ApplicationState, covers};
