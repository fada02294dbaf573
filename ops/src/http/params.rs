//! Query parameters: parsed once, unknown ones refused.

use super::problem::{bad_parameter, clip};
use crate::clock::of_rfc3339;
use crate::nearest;
use axum::{extract::Query, http::Uri};
use quipu_schemas::{context::Millis, limits, problem::Problem};
use std::{fmt::Display, str::FromStr};

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Parses; a name outside `allowed` or given twice is a `400` that names the allowed ones.
    pub fn parse(uri: &Uri, allowed: &[&str]) -> Result<Self, Problem> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|e| {
            bad_parameter(
                "query",
                format!("the query does not parse: {e}"),
                "use name=value&…, percent-encoded",
            )
        })?;
        let known = |name: &str| {
            if allowed.is_empty() {
                "this path takes no parameters".to_owned()
            } else {
                nearest::fix(name, "allowed", allowed.iter().copied())
            }
        };
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                let detail = format!("unknown parameter `{}`", clip(name));
                return Err(Problem::new(400, "unknown_parameter", detail).field(clip(name)).fix(known(name)));
            }
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(bad_parameter(name, format!("`{name}` is given twice"), "give it once"));
            }
        }
        Ok(Self(pairs))
    }

    /// The text of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of any type that parses from text.
    pub fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|e| bad_parameter(name, format!("`{}`: {e}", clip(text)), format!("correct `{name}`")))
            })
            .transpose()
    }

    /// Rows of a page.
    pub fn limit(&self) -> Result<usize, Problem> {
        let max = limits::PAGE_MAX_ROWS;
        match self.get::<usize>("limit")? {
            None => Ok(limits::PAGE_DEFAULT_ROWS),
            Some(n) if (1..=max).contains(&n) => Ok(n),
            Some(n) => Err(bad_parameter("limit", format!("{n} is not a page size"), format!("use 1 to {max}"))),
        }
    }

    /// A point in time: milliseconds since the Unix epoch, or RFC 3339.
    pub fn time(&self, name: &str) -> Result<Option<Millis>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let refuse = || {
            bad_parameter(
                name,
                format!("not a time: `{}`", clip(text)),
                "use RFC 3339 (2026-01-31T12:00:00Z) or milliseconds since 1970",
            )
        };
        if let Ok(millis) = text.parse() {
            return Ok(Some(millis));
        }
        of_rfc3339(text).map(Some).ok_or_else(refuse)
    }

    /// The ones that are given out of `names`, in that order.
    pub fn given<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        names.iter().filter_map(|name| self.text(name).map(|value| (*name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::rfc3339;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_by_name() {
        let problem = Params::parse(&uri("/x?limt=3"), &["limit", "after"]).unwrap_err();
        assert_eq!(
            (problem.code.as_str(), problem.field.as_deref()),
            ("unknown_parameter", Some("limt"))
        );
        assert!(problem.fix.unwrap().contains("limit, after"));
        assert_eq!(
            Params::parse(&uri("/x?limit=3&limit=4"), &["limit"]).unwrap_err().code,
            "bad_parameter"
        );
        assert_eq!(Params::parse(&uri("/x"), &[]).unwrap().limit().unwrap(), limits::PAGE_DEFAULT_ROWS);
        for bad in ["0", "1001", "x", "-1", ""] {
            let params = Params::parse(&uri(&format!("/x?limit={bad}")), &["limit"]).unwrap();
            assert_eq!(params.limit().unwrap_err().field.as_deref(), Some("limit"), "{bad}");
        }
    }

    #[test]
    fn times_are_taken_in_both_forms_and_given_in_one() {
        let params = Params::parse(&uri("/x?a=1700000000123&b=2023-11-14T22:13:20.123Z&c=soon"), &["a", "b", "c"]).unwrap();
        assert_eq!(params.time("a").unwrap(), params.time("b").unwrap());
        assert_eq!(params.time("c").unwrap_err().code, "bad_parameter");
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
