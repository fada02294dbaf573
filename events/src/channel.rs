//! Plain messages between the nodes that share a log: for what is of use now or never.

/// Takes what is said on a topic; must not block.
pub type Hear = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Listening ends when it is dropped.
pub trait Listening: Send + Sync {}

/// Says and hears messages that are kept nowhere: those of one speaker on one topic come in order or not at all.
pub trait Channel: Send + Sync {
    /// Says something on a topic, `[A-Za-z0-9_-]` and dots. Never waits; lost where nobody listens or too much is on its way.
    fn say(&self, topic: &str, payload: Vec<u8>);
    /// Listens to a topic from about now on; `*` stands for any one part between dots.
    fn listen(&self, topic: &str, hear: Hear) -> Box<dyn Listening>;
}
