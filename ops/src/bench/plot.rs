//! Plots as SVG: lines over minutes, one panel under the other.

use std::fmt::Write;

/// One line of a panel.
pub(super) struct Series {
    /// Its name.
    pub(super) name: &'static str,
    /// Minutes and values.
    pub(super) points: Vec<(f64, f64)>,
}

/// One set of axes, from zero.
pub(super) struct Panel {
    /// What is shown, with its unit.
    pub(super) title: &'static str,
    /// The lines.
    pub(super) series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 96.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 28.0;
/// Told apart by people who see few colours, too.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

/// The next of 1, 2 and 5 times a power of ten.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= value)
        .unwrap_or(10.0 * power)
}

/// The panels as one picture.
pub(super) fn svg(panels: &[Panel]) -> String {
    let mut out = String::new();
    let height = HEIGHT * panels.len() as f64;
    // Writing to a string does not fail.
    let _ = write!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#ffffff"/>"##
    );
    for (at, panel) in panels.iter().enumerate() {
        draw(&mut out, panel, HEIGHT * at as f64);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel, y: f64) {
    let points = || panel.series.iter().flat_map(|series| series.points.iter());
    let top = ceiling(points().map(|p| p.1).fold(0.0, f64::max));
    let end = points().map(|p| p.0).fold(0.0, f64::max).max(1e-9);
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let (px, py) = (|x: f64| LEFT + x / end * width, |v: f64| y + TOP + height - v / top * height);
    let _ = write!(
        out,
        r##"<text x="{LEFT}" y="{:.1}" font-weight="bold">{}</text>"##,
        y + 18.0,
        panel.title
    );
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        let line = py(value);
        let _ = write!(
            out,
            r##"<line x1="{LEFT}" x2="{:.1}" y1="{line:.1}" y2="{line:.1}" stroke="#dddddd"/>"##,
            LEFT + width
        );
        let _ = write!(
            out,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
            LEFT - 6.0,
            line + 4.0,
            short(value)
        );
        let minutes = end * f64::from(part) / 4.0;
        let _ = write!(
            out,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="middle">{} min</text>"##,
            px(minutes),
            y + HEIGHT - 10.0,
            short(minutes)
        );
    }
    for (series, colour) in panel.series.iter().zip(COLOURS) {
        let line: Vec<String> = series.points.iter().map(|(x, v)| format!("{:.1},{:.1}", px(*x), py(*v))).collect();
        let _ = write!(
            out,
            r##"<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{}"/>"##,
            line.join(" ")
        );
    }
    for (row, (series, colour)) in panel.series.iter().zip(COLOURS).enumerate() {
        let line = y + TOP + 8.0 + 16.0 * row as f64;
        let _ = write!(
            out,
            r##"<text x="{:.1}" y="{line:.1}" fill="{colour}">{}</text>"##,
            LEFT + width + 10.0,
            series.name
        );
    }
}

fn short(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([0.0, 0.7, 1.0, 3.0, 61.0, 400.0].map(ceiling), [1.0, 1.0, 1.0, 5.0, 100.0, 500.0]);
    }

    #[test]
    fn every_point_is_within_its_panel() {
        let picture = svg(&[Panel {
            title: "t",
            series: vec![Series {
                name: "a",
                points: vec![(0.0, 0.0), (2.0, 7.5), (4.0, 10.0)],
            }],
        }]);
        assert!(picture.contains(r#"points="64.0,162.0 364.0,63.0 664.0,30.0""#), "{picture}");
    }
}
