//! Planted defects, by which the checks prove that they see.

/// A planted defect, by which the checks prove that they see. It lives in the simulation's glue alone: no build of the
/// node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Answers before the record is durable.
    AnswersEarly,
    /// Forgets first receipts: a repetition is decided again.
    ForgetsReceipts,
    /// Takes a repetition as new if its first decision was in flight when the marks were loaded.
    ForgetsMarksInFlight,
    /// Drops one effect in three instead of performing it, and says that it was done.
    DropsEffects,
    /// Gives each attempt of an effect an id of its own.
    FreshEffectIds,
    /// Fires timers up to five seconds early.
    FiresEarly,
    /// Fires timers of entities in memory only.
    ForgetsSleepers,
    /// Says that the views have seen what they have not.
    ViewsSayTooMuch,
    /// Drops one record in seven from the feed.
    FeedSkips,
    /// Refuses by the version before the last.
    RefusesStale,
    /// Refuses by what is not durable yet.
    RefusesSpeculatively,
    /// Acknowledges in the wrong order: keeps an answer's place and gives it to another.
    SwapsPlaces,
    /// Passivates an entity that has records in flight, and wakes it from what is durable.
    PassivatesInFlight,
    /// Takes a page of pending work that could not be read for an empty one.
    ForgetsUnread,
    /// Takes the highest wall clock ever seen for the time.
    TrustsTheWallClock,
    /// Never fires a timer whose record it could not read once.
    ForgetsUnreadTimers,
    /// Takes commands of orgs that nobody has made.
    TakesEveryOrgForReal,
    /// Takes commands of a suspended org.
    ForgetsSuspensions,
    /// Sends what a reaction dispatches without the credential of its cause.
    LosesScopes,
    /// Takes a key that was revoked as it was before.
    RevivesKeys,
    /// Reserves as if nothing were reserved.
    ReservesTwice,
    /// Takes a session that ended as it was before.
    RevivesSessions,
    /// Takes whatever comes from a principal that was stopped.
    ForgetsStopped,
    /// Sends what somebody caused before they were stopped.
    SendsForStopped,
}

/// All of them.
pub const MUTANTS: [Mutant; 24] = [
    Mutant::AnswersEarly,
    Mutant::ForgetsReceipts,
    Mutant::ForgetsMarksInFlight,
    Mutant::DropsEffects,
    Mutant::FreshEffectIds,
    Mutant::FiresEarly,
    Mutant::ForgetsSleepers,
    Mutant::ViewsSayTooMuch,
    Mutant::FeedSkips,
    Mutant::RefusesStale,
    Mutant::RefusesSpeculatively,
    Mutant::SwapsPlaces,
    Mutant::PassivatesInFlight,
    Mutant::ForgetsUnread,
    Mutant::TrustsTheWallClock,
    Mutant::ForgetsUnreadTimers,
    Mutant::TakesEveryOrgForReal,
    Mutant::ForgetsSuspensions,
    Mutant::LosesScopes,
    Mutant::RevivesKeys,
    Mutant::ReservesTwice,
    Mutant::RevivesSessions,
    Mutant::ForgetsStopped,
    Mutant::SendsForStopped,
];
