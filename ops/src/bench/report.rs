//! Lines of the report: what was asked, what was measured, whether it holds.

use super::machine::Machine;
use serde::Serialize;

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// What is measured.
    pub name: String,
    /// What the design asks; empty for numbers printed beside.
    pub target: String,
    /// What came out.
    pub measured: String,
    /// Whether the target holds; `None` for numbers printed beside.
    pub pass: Option<bool>,
    /// The single measurements, and what else helps to read the line.
    pub detail: String,
}

/// A run's report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// The command that was given.
    pub command: String,
    /// Lines in the order in which they were measured.
    pub lines: Vec<Line>,
}

impl Line {
    /// A line with a target.
    pub(super) fn judged(name: &str, target: &str, measured: String, pass: bool, detail: String) -> Self {
        Self {
            name: name.into(),
            target: target.into(),
            measured,
            pass: Some(pass),
            detail,
        }
    }

    /// A number printed beside.
    pub(super) fn beside(name: &str, measured: String, detail: String) -> Self {
        Self {
            name: name.into(),
            target: String::new(),
            measured,
            pass: None,
            detail,
        }
    }

    /// `pass`, `MISS` or nothing.
    pub fn verdict(&self) -> &'static str {
        match self.pass {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "",
        }
    }
}

impl Report {
    /// As tables of Markdown.
    pub fn markdown(&self) -> String {
        let m = &self.machine;
        let mut text = format!(
            "`{}`\n\n{} cores of {}, {} MiB, Linux {}, {}; quipu {}; load average {:.1} at the start, {:.1} at the end.\n\n",
            self.command, m.cores, m.cpu, m.memory_mib, m.kernel, m.disk, m.build, m.load_before, m.load_after
        );
        text.push_str("| Line | Target | Measured | | Detail |\n|---|---|---|---|---|\n");
        for line in &self.lines {
            let cells = [&line.name, &line.target, &line.measured, line.verdict(), &line.detail].map(|cell| cell.replace('|', "\\|"));
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        text
    }
}

/// The middle value.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The mean; zero of nothing.
pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// Slope of a least-squares line, in units of `y` for each unit of `x`.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let (x, y) = (mean(points.iter().map(|p| p.0)), mean(points.iter().map(|p| p.1)));
    let over = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>();
    let under = points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>();
    if under == 0.0 { 0.0 } else { over / under }
}

/// Values side by side.
pub(super) fn list(values: &[f64], digits: usize) -> String {
    values.iter().map(|v| format!("{v:.digits$}")).collect::<Vec<_>>().join(" ")
}

/// A count with separators.
pub(super) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_counts_read_as_people_write_them() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!((count(999.0), count(1_234_567.0)), ("999".to_owned(), "1,234,567".to_owned()));
    }
}
