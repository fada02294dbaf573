//! What a client would rather have, by its `Accept`.

use axum::http::{HeaderMap, header};

/// How much a client wants a media type: first by weight, then by how closely it is named, then by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    /// Thousandths; 0 means that it must not be sent.
    weight: u16,
    /// 2 by its name, 1 by `type/*`, 0 by `*/*`.
    closeness: u8,
    /// Earlier is larger.
    earliness: isize,
}

/// The first of two media types, unless the client would rather have the second. A client that names neither, or wants
/// neither, gets the first.
pub(super) fn first_or<'a>(headers: &HeaderMap, first: &'a str, second: &'a str) -> &'a str {
    let given: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .collect();
    let wanted = |media_type| wish(&given, media_type).filter(|wish| wish.weight > 0);
    match (wanted(first), wanted(second)) {
        (_, None) => first,
        (None, Some(_)) => second,
        (Some(a), Some(b)) => {
            if b > a {
                second
            } else {
                first
            }
        }
    }
}

/// The first of some media types, unless the client would rather have one of the others.
pub(super) fn first_of<'a>(headers: &HeaderMap, offered: &[&'a str]) -> &'a str {
    let best = offered.iter().copied().reduce(|best, next| first_or(headers, best, next));
    best.unwrap_or_default()
}

/// The closest range of `Accept` that a media type falls under.
fn wish(given: &[&str], media_type: &str) -> Option<Wish> {
    let (family, _) = media_type.split_once('/')?;
    let wishes = given.iter().enumerate().filter_map(|(at, range)| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        let closeness = if name.eq_ignore_ascii_case(media_type) {
            2
        } else if name.strip_suffix("/*").is_some_and(|of| of.eq_ignore_ascii_case(family)) {
            1
        } else if name == "*/*" {
            0
        } else {
            return None;
        };
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        Some(Wish {
            weight: weight.map_or(1000, thousandths),
            closeness,
            earliness: if closeness == 0 { 0 } else { -(at as isize) },
        })
    });
    wishes.max_by_key(|wish| (wish.closeness, wish.weight, wish.earliness))
}

/// A weight of `Accept`; one that does not read counts as 1.
fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_decide_and_zero_excludes() {
        let chosen = |accept: &str| first_or(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]), "a/n", "t/s");
        for (accept, expected) in [
            ("a/n, t/s;q=0.5", "a/n"),
            ("a/n;q=0.5, t/s", "t/s"),
            ("a/n;q=0.1, t/s;q=0.2", "t/s"),
            ("t/s;q=0", "a/n"),
            ("t/s; q=0.000, */*", "a/n"),
            ("a/n;q=0, */*", "t/s"),
            ("t/s", "t/s"),
            ("T/S", "t/s"),
            ("x/y, t/s;q=0.9", "t/s"),
            ("*/*", "a/n"),
            ("t/s, */*", "t/s"),
            ("*/*, t/s", "t/s"),
            ("a/n, t/s", "a/n"),
            ("t/s, a/n", "t/s"),
            ("t/*", "t/s"),
            ("t/*, t/s;q=0", "a/n"),
            ("x/y", "a/n"),
            ("", "a/n"),
            ("t/s;q=high", "t/s"),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
        assert_eq!(first_or(&HeaderMap::new(), "a/n", "t/s"), "a/n");
        let of = |accept: &str| {
            first_of(
                &HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]),
                &["a/n", "t/s", "u/v"],
            )
        };
        for (accept, expected) in [
            ("*/*", "a/n"),
            ("u/v, */*;q=0.8", "u/v"),
            ("t/s;q=0.9, u/v;q=0.8", "t/s"),
            ("x/y", "a/n"),
        ] {
            assert_eq!(of(accept), expected, "{accept}");
        }
    }
}
