use super::*;

#[test]
fn the_hint_is_a_command_that_is_taken() {
    let hint = post_hint("data");
    let words = hint.split(' ').map(|word| word.trim_matches('\''));
    assert!(<crate::cli::Cli as clap::Parser>::try_parse_from(words).is_ok(), "{hint}");
}

#[test]
fn what_happened_is_told_in_numbers() {
    let lately = Lately {
        acknowledged: 7,
        refused: 1,
        unanswered: 2,
        waited: Duration::from_millis(5),
    };
    assert_eq!(told(lately), "7 acknowledged, 1 refused for a moment, 2 unanswered and sent again");
}
