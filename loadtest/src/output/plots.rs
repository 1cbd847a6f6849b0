//! Plots as SVG.

mod predictions;

use std::time::Duration;

use anyhow::{Result, anyhow};
use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(crate) use predictions::{Measured, predictions};

const WIDTH: u32 = 900;
const FONT: &str = "sans-serif";
/// A palette for colour-blind readers (Okabe and Ito).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
/// What failed.
const FAILED: RGBColor = RGBColor(179, 38, 30);
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Height of a row of a timeline, and space for its name.
const LANE: u32 = 22;
const LANE_NAME: u32 = 170;

/// A named line.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A fault or an operation, in seconds since the run began.
pub(crate) struct Span<'a> {
    /// Spans of one name share a row.
    pub(crate) name: &'a str,
    pub(crate) begin_s: f64,
    pub(crate) end_s: f64,
    /// Requests that failed during it.
    pub(crate) failed: u64,
}

/// Latencies by the share of requests that are as fast: each point is a quantile and milliseconds.
/// Each step to the right has a tenth of the slower requests of the step before.
pub(crate) fn latencies(lines: &[Line<'_>]) -> Result<String> {
    let nines = |quantile: f64| -(1.0 - quantile.min(0.999_99)).log10();
    let lines: Vec<Line<'_>> = lines
        .iter()
        .map(|line| Line {
            name: line.name,
            points: line.points.iter().map(|&(q, ms)| (nines(q), ms.max(0.01))).collect(),
        })
        .collect();
    let (low, high) = range(&lines);
    let draw = |text: &mut String| {
        let root = SVGBackend::with_string(text, (WIDTH, 320)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..5.0, (low * 0.8..high * 1.25).log_scale())?;
        chart
            .configure_mesh()
            .x_labels(6)
            .x_desc("share of requests that are as fast")
            .y_desc("ms")
            .x_label_formatter(&|nines| percent(*nines))
            .y_label_formatter(&|ms| format!("{ms}"))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .label_style((FONT, 13))
            .draw()?;
        for (line, color) in lines.iter().zip(COLORS.into_iter().cycle()) {
            let points = line.points.iter().copied();
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(line.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
        }
        legend(&mut chart)?;
        root.present()
    };
    svg(draw)
}

/// How many of these times are in each second, until the last one.
pub(crate) fn by_second(times: impl Iterator<Item = Duration>) -> Vec<u64> {
    let mut seconds = Vec::new();
    for time in times {
        let second = usize::try_from(time.as_secs()).unwrap_or_default();
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += 1;
    }
    seconds
}

/// Counts by second.
pub(crate) fn throughput(lines: &[Line<'_>], unit: &str) -> Result<String> {
    let (_, high) = range(lines);
    let end = lines.iter().flat_map(|line| &line.points).fold(1.0_f64, |end, &(x, _)| end.max(x));
    let draw = |text: &mut String| {
        let root = SVGBackend::with_string(text, (WIDTH, 260)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, 0.0..high * 1.1)?;
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc(unit)
            .x_label_formatter(&|s| format!("{s:.0}"))
            .y_label_formatter(&|count| format!("{count:.0}"))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .label_style((FONT, 13))
            .draw()?;
        let mut colors = COLORS.into_iter().cycle();
        for line in lines {
            let color = if line.name == "failed" { Some(FAILED) } else { colors.next() };
            let style = color.unwrap_or(FAILED).stroke_width(2);
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), style))?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        legend(&mut chart)?;
        root.present()
    };
    svg(draw)
}

/// A row for each name, with its spans; those with failed requests say how many. Below them, the
/// failed requests of each second.
pub(crate) fn timeline(spans: &[Span<'_>], failed: &[u64], end_s: f64) -> Result<String> {
    let mut names: Vec<&str> = Vec::new();
    for span in spans {
        if !names.contains(&span.name) {
            names.push(span.name);
        }
    }
    let lanes = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let most = failed.iter().copied().max().unwrap_or(0).max(4);
    let end_s = end_s.max(1.0);
    let draw = |text: &mut String| {
        let upper_height = lanes.saturating_mul(LANE).saturating_add(16);
        let root = SVGBackend::with_string(text, (WIDTH, upper_height.saturating_add(140)))
            .into_drawing_area();
        root.fill(&WHITE)?;
        let (upper, lower) = root.split_vertically(upper_height);
        let area = |root| {
            let mut builder = ChartBuilder::on(root);
            builder.margin(8).margin_right(24).y_label_area_size(LANE_NAME);
            builder
        };
        let mut chart =
            area(&upper).build_cartesian_2d(0.0..end_s, 0.0..f64::from(lanes).max(1.0))?;
        for (lane, name) in names.iter().enumerate() {
            let (color, y) = (COLORS[lane % COLORS.len()], (names.len() - 1 - lane) as f64);
            let style =
                (FONT, 13).into_font().color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
            let (x, middle) = chart.backend_coord(&(0.0, y + 0.5));
            root.draw(&Text::new(*name, (x - 8, middle), style))?;
            let of_lane = || spans.iter().filter(|span| span.name == *name);
            chart.draw_series(of_lane().map(|span| {
                let area = [(span.begin_s, y + 0.15), (span.end_s, y + 0.85)];
                Rectangle::new(area, color.filled())
            }))?;
            // Above the spans that follow.
            for span in of_lane() {
                if span.failed > 0 {
                    let (x, middle) = chart.backend_coord(&(span.end_s, y + 0.5));
                    let style = (FONT, 12).into_font().color(&FAILED);
                    let style = style.pos(Pos::new(HPos::Left, VPos::Center));
                    root.draw(&Text::new(
                        format!("{} failed", span.failed),
                        (x + 3, middle),
                        style,
                    ))?;
                }
            }
        }
        let mut chart = area(&lower)
            .x_label_area_size(40)
            .build_cartesian_2d(0.0..end_s, 0.0..most as f64 * 1.1)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("seconds")
            .y_desc("failed requests/s")
            .y_labels(4)
            .x_label_formatter(&|s| format!("{s:.0}"))
            .y_label_formatter(&|count| format!("{count:.0}"))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .label_style((FONT, 13))
            .draw()?;
        let bars = failed.iter().enumerate().filter(|(_, count)| **count > 0);
        chart.draw_series(bars.map(|(second, &count)| {
            let second = second as f64;
            Rectangle::new([(second, 0.0), (second + 0.9, count as f64)], FAILED.filled())
        }))?;
        root.present()
    };
    svg(draw)
}

/// `90 %` for one nine, `99.9 %` for three.
fn percent(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10.0_f64.powf(-nines));
    let text = format!("{percent:.3}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn range(lines: &[Line<'_>]) -> (f64, f64) {
    let all = lines.iter().flat_map(|line| &line.points).map(|&(_, y)| y);
    let (low, high) = all.fold((f64::MAX, 0.0_f64), |(low, high), y| (low.min(y), high.max(y)));
    (low.min(1.0), high.max(1.0))
}

type Chart<'a, 'b, C> = ChartContext<'a, SVGBackend<'b>, C>;
type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

fn legend<'a, 'b: 'a, C>(chart: &mut Chart<'a, 'b, C>) -> Drawn
where
    C: CoordTranslate,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font((FONT, 13))
        .draw()
}

fn svg(draw: impl FnOnce(&mut String) -> Drawn) -> Result<String> {
    let mut text = String::new();
    draw(&mut text).map_err(|error| anyhow!("cannot draw a plot: {error}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_shown_as_percentages() {
        for (nines, expected) in [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (5.0, "99.999 %")] {
            assert_eq!(percent(nines), expected);
        }
    }

    #[test]
    fn names_are_escaped_and_every_span_is_drawn() {
        let span = |begin_s, failed| Span { name: "a<b", begin_s, end_s: begin_s + 2.0, failed };
        let text =
            timeline(&[span(1.0, 0), span(5.0, 7)], &[0, 0, 0, 0, 0, 3, 4], 10.0).expect("drawn");
        assert!(text.contains("a&lt;b") && !text.contains("a<b"), "{text}");
        assert!(text.contains("7 failed"), "{text}");
        // Two spans, two seconds with failures, and the background.
        assert_eq!(text.matches("<rect").count(), 5, "{text}");
    }

    #[test]
    fn times_are_counted_by_second() {
        let times = [0.2, 3.9, 0.7].map(Duration::from_secs_f64);
        assert_eq!(by_second(times.into_iter()), [2, 0, 0, 1]);
        assert!(by_second(std::iter::empty()).is_empty());
    }

    #[test]
    fn nothing_is_plotted_without_a_failure() {
        assert!(timeline(&[], &[], 0.0).is_ok());
        assert!(throughput(&[], "requests/s").is_ok());
        assert!(latencies(&[Line { name: "none", points: Vec::new() }]).is_ok());
    }
}
