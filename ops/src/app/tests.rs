//! A node in memory, for tests of faces in parts.

use super::{Access, App, Stage};
use crate::{config::Config, token::Token, views::Views, views_in::ViewsIn};
use quipu_runtime::{kinds::Kinds, node::Node};
use tokio::sync::watch;

/// The app of a node in memory without views, which serves for as long as the sender is kept.
pub(crate) async fn in_memory() -> (App, watch::Sender<Stage>) {
    let config = Config::in_memory().unwrap();
    let node = Node::start(config.node().unwrap(), Kinds::builtin(), |_| {}).await.unwrap();
    let views = Views::open(&ViewsIn::Off, None, &node).unwrap();
    let (stage, is_at) = watch::channel(Stage::Serving);
    let app = App::new(node, views, Token::mint().unwrap(), Access::default(), None, is_at);
    (app, stage)
}
