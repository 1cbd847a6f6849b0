//! The plot of CPU time per request by connections.

use anyhow::{Context as _, Result, anyhow};
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::run::{Load, Run, Section, Spread};

const SIZE: (u32, u32) = (760, 340);
const FONT: &str = "sans-serif";
/// A palette for colour-blind readers (Okabe and Ito).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(90, 90, 90),
];
/// Space of the names on the right, and of each.
const LABEL_WIDTH: i32 = 190;
const LABEL_HEIGHT: i32 = 16;
/// Grid lines, µs.
const GRID: [f64; 9] = [5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// An SVG with a line for each proxy: small responses with the first number of threads. Vertical
/// bars are from the lowest to the highest round. Both axes are logarithmic.
pub(super) fn svg(run: &Run) -> Result<String> {
    let (first, _) = run.loads().next().context("nothing to plot")?;
    let is_plotted = |load: &Load| load.workload == "small" && load.threads == first.threads;
    let sections: Vec<(&Load, &Section)> =
        run.loads().filter(|(load, _)| is_plotted(load)).collect();
    let (_, section) = sections.first().context("the workload `small` was not measured")?;
    let line = |name: &str| {
        let point = |(load, section): &(&Load, &Section)| {
            let row = section.rows.iter().find(|row| row.name == name)?;
            Some((load.connections as f64, row.cpu_of(&["proxy"])?))
        };
        sections.iter().filter_map(point).collect()
    };
    let proxies: Vec<(&str, Vec<(f64, Spread)>)> =
        section.rows.iter().map(|row| (&*row.name, line(&row.name))).collect();
    let connections = sections.iter().map(|(load, _)| load.connections as f64).collect();
    let mut text = String::new();
    draw(&mut text, &proxies, connections, first.threads)
        .map_err(|error| anyhow!("cannot draw the plot: {error}"))?;
    Ok(text + "\n")
}

fn draw(
    text: &mut String,
    proxies: &[(&str, Vec<(f64, Spread)>)],
    connections: Vec<f64>,
    threads: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let all = proxies.iter().flat_map(|(_, points)| points);
    let (low, high) = all.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), (_, cpu)| {
        (low.min(cpu.min.max(0.1)), high.max(cpu.max))
    });
    let grid = GRID.into_iter().filter(|line| (low * 0.8..=high * 1.2).contains(line)).collect();
    let threads = if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
    let first = connections.iter().copied().fold(f64::MAX, f64::min);
    let last = connections.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("CPU µs per request, small responses, {threads}"), (FONT, 16))
        .margin(8)
        .margin_right(LABEL_WIDTH)
        .x_label_area_size(40)
        .y_label_area_size(44)
        .build_cartesian_2d(
            (first * 0.8..last * 1.2).log_scale().with_key_points(connections),
            (low * 0.8..high * 1.2).log_scale().with_key_points(grid),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("connections")
        .x_label_formatter(&|connections| format!("{connections:.0}"))
        .y_label_formatter(&|us| format!("{us:.0}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(220, 220, 220))
        .label_style((FONT, 13))
        .draw()?;
    let mut labels = Vec::new();
    for ((name, points), color) in proxies.iter().zip(COLORS.into_iter().cycle()) {
        let at = |(connections, us): (f64, f64)| (connections, us.max(low));
        let medians: Vec<_> = points.iter().map(|(x, cpu)| at((*x, cpu.median))).collect();
        chart.draw_series(LineSeries::new(medians.iter().copied(), color.stroke_width(2)))?;
        chart.draw_series(medians.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
        let range = |(x, cpu): &(f64, Spread)| {
            PathElement::new(vec![at((*x, cpu.min)), at((*x, cpu.max))], color.stroke_width(1))
        };
        chart.draw_series(points.iter().map(range))?;
        let Some(point) = medians.last() else { continue };
        labels.push((chart.backend_coord(point), *name, color));
    }
    // Beside their last points, and below each other.
    labels.sort_by_key(|((_, y), _, _)| *y);
    let mut lowest = i32::MIN;
    for ((x, y), name, color) in labels {
        lowest = y.max(lowest.saturating_add(LABEL_HEIGHT));
        let style = (FONT, 13).into_font().color(&color);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(name, (x + 10, lowest), style))?;
    }
    root.present()?;
    Ok(())
}
