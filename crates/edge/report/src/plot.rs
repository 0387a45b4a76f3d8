//! Curves over time as SVG. Colours are those of the page around it, or of the reader's choice of light and dark.

use std::fmt::Write;

use crate::html::escaped;
use crate::time::time_of_day;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// Part of a file's name.
    pub name: &'static str,
    pub caption: String,
    pub svg: String,
}

pub(crate) struct Curve<'a> {
    pub name: &'a str,
    /// `--one`, `--two`, `--three`
    pub colour: &'static str,
    /// A gap where nothing is known.
    pub points: Vec<(u64, Option<f64>)>,
}

/// A moment that is marked by an upright line.
pub(crate) struct Mark {
    pub at_ms: u64,
    pub text: String,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 28.0;
/// Colours of its own, for a picture that stands alone in a file; the same names as on the page.
const STYLE: &str = "\
svg{--ink:#1b1f24;--faint:#667;--rule:#d5d9e0;--one:#1f6feb;--two:#c2410c;--three:#7c3aed}\
@media(prefers-color-scheme:dark){svg{--ink:#e6e8eb;--faint:#9aa4b2;--rule:#333a44;--one:#6ea8fe;--two:#fb923c;--three:#b794f6}}";

/// Writing into a string does not fail.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {
        let _ = writeln!($text, $($argument)*);
    };
}

pub(crate) fn plot(
    name: &'static str,
    caption: &str,
    unit: &dyn Fn(f64) -> String,
    curves: &[Curve],
    marks: &[Mark],
) -> Option<Plot> {
    let times = curves.iter().flat_map(|curve| &curve.points);
    let times: Vec<u64> = times.map(|(at_ms, _)| *at_ms).collect();
    let (first, last) = (*times.iter().min()?, *times.iter().max()?);
    let values = curves.iter().flat_map(|curve| &curve.points);
    let top = values
        .filter_map(|(_, value)| *value)
        .fold(0.0_f64, f64::max);
    let top = round_up(top);
    let across = move |at_ms: u64| {
        let share = (at_ms.saturating_sub(first)) as f64 / (last - first).max(1) as f64;
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let up = move |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"11\">\n<title>{0}</title>\n<style>{STYLE}</style>\n",
        escaped(caption)
    );
    for share in [0.0, 0.5, 1.0] {
        let y = up(top * share);
        line!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" style=\"stroke:var(--rule)\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" style=\"fill:var(--faint)\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            escaped(&unit(top * share))
        );
    }
    for (at_ms, anchor) in [(first, "start"), (last, "end")] {
        line!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" style=\"fill:var(--faint)\">{}</text>",
            across(at_ms),
            HEIGHT - 8.0,
            time_of_day(at_ms).split('.').next().unwrap_or_default()
        );
    }
    mark(&mut svg, marks, &across, (first, last));
    for (number, curve) in curves.iter().enumerate() {
        draw(&mut svg, curve, &across, &up);
        line!(
            svg,
            "<text x=\"{:.1}\" y=\"12\" style=\"fill:var({})\">{}</text>",
            LEFT + 110.0 * number as f64,
            curve.colour,
            escaped(curve.name)
        );
    }
    svg.push_str("</svg>");
    Some(Plot {
        name,
        caption: caption.to_owned(),
        svg,
    })
}

/// One path for each stretch that is known; a single point is a dot.
fn draw(svg: &mut String, curve: &Curve, across: &dyn Fn(u64) -> f64, up: &dyn Fn(f64) -> f64) {
    for stretch in curve.points.split(|(_, value)| value.is_none()) {
        let mut path = String::new();
        for (at_ms, value) in stretch {
            let letter = if path.is_empty() { 'M' } else { 'L' };
            let y = up(value.unwrap_or_default());
            let _ = write!(path, "{letter}{:.1} {y:.1}", across(*at_ms));
        }
        if stretch.len() == 1 {
            path.push_str("h0.1");
        }
        if !path.is_empty() {
            line!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke-width=\"1.6\" stroke-linecap=\"round\" style=\"stroke:var({})\"/>",
                curve.colour
            );
        }
    }
}

/// Numbers stand above the lines, in two heights so that neighbours stay apart; the caption tells what they mean.
fn mark(svg: &mut String, marks: &[Mark], across: &dyn Fn(u64) -> f64, (first, last): (u64, u64)) {
    for (number, mark) in (1..).zip(marks) {
        if !(first..=last).contains(&mark.at_ms) {
            continue;
        }
        let x = across(mark.at_ms);
        let y = if number % 2 == 0 { 36.0 } else { 25.0 };
        line!(
            svg,
            "<g><title>{}</title><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke-dasharray=\"3 3\" style=\"stroke:var(--faint)\"/>\
             <text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\" style=\"fill:var(--ink)\">{number}</text></g>",
            escaped(&mark.text),
            HEIGHT - BOTTOM
        );
    }
}

/// The next of 1, 2, 5, 10, … that is not below.
fn round_up(value: f64) -> f64 {
    let mut step = 1e-6;
    while step < 1e12 {
        for factor in [1.0, 2.0, 5.0] {
            if step * factor >= value * 0.999_999 {
                return step * factor;
            }
        }
        step *= 10.0;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tops_are_round() {
        for (value, top) in [(0.3, 0.5), (1.0, 1.0), (1.2, 2.0), (4_999.0, 5_000.0)] {
            assert!((round_up(value) - top).abs() < top * 1e-6, "{value}");
        }
    }

    #[test]
    fn where_nothing_is_known_nothing_is_drawn() {
        let curve = Curve {
            name: "x",
            colour: "--one",
            points: vec![(0, Some(1.0)), (1, Some(2.0)), (2, None), (3, Some(1.0))],
        };
        let svg = plot("x", "x", &|value| value.to_string(), &[curve], &[]).unwrap();
        assert_eq!(svg.svg.matches("<path").count(), 2);
        assert!(plot("x", "x", &|value| value.to_string(), &[], &[]).is_none());
    }
}
