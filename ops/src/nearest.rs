//! "Did you mean": the known name that a mistaken one most resembles.

use quipu_schemas::limits::NEAREST_MAX_BYTES;

/// The known name that is nearest, if any is near enough to be meant.
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What is long may hold anything, and comparing takes the product of both lengths.
    if text.len() > NEAREST_MAX_BYTES {
        return None;
    }
    let text = text.to_ascii_lowercase();
    known
        .into_iter()
        .filter(|name| name.len() <= NEAREST_MAX_BYTES)
        .map(|name| (strsim::damerau_levenshtein(&text, name), name))
        // A third of the letters may be wrong, and one in a short name.
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1) && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A fix that lists the known names, with the one that was probably meant before them.
pub fn fix<'a>(text: &str, label: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let all = known.join(", ");
    match nearest(text, known) {
        Some(name) => format!("did you mean `{name}`? {label}: {all}"),
        None => format!("{label}: {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_corrected_and_other_words_are_not() {
        let known = ["messages", "runs", "agents", "participants", "state"];
        for (text, meant) in [
            ("mesages", Some("messages")),
            ("message", Some("messages")),
            ("rusn", Some("runs")),
            ("Agents", Some("agents")),
            ("particpants", Some("participants")),
            ("weather", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(text, known), meant, "{text}");
        }
        assert_eq!(nearest(&"a".repeat(1_000_000), known), None);
    }

    #[test]
    fn a_fix_begins_with_what_was_meant() {
        assert_eq!(fix("pots", "known", ["post", "join"]), "did you mean `post`? known: post, join");
        assert_eq!(fix("weather", "known", ["post", "join"]), "known: post, join");
    }
}
