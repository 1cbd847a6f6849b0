//! Measured shares beside their predictions.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{COLORS, FAILED, FONT, GRID, LANE, WIDTH, svg};

/// Space for the names of the rows, and for the values.
const NAME: u32 = 300;
const VALUE: u32 = 70;
/// The tolerance of a prediction.
const TOLERANCE: RGBColor = RGBColor(205, 205, 205);

/// A measured share in per cent.
pub(crate) struct Measured<'a> {
    pub(crate) name: &'a str,
    pub(crate) percent: f64,
    /// The prediction with its tolerance.
    pub(crate) predicted: Option<(f64, f64)>,
    /// Whether they agree.
    pub(crate) holds: bool,
}

/// A row for each share: its bar, the predicted share as a line, the tolerance around it.
pub(crate) fn predictions(rows: &[Measured<'_>]) -> Result<String> {
    let lanes = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let draw = |text: &mut String| {
        let height = lanes.saturating_mul(LANE).saturating_add(56);
        let root = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(VALUE)
            .x_label_area_size(24)
            .y_label_area_size(NAME)
            .build_cartesian_2d(0.0..100.0, 0.0..f64::from(lanes).max(1.0))?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_labels(5)
            .x_label_formatter(&|percent| format!("{percent:.0} %"))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .label_style((FONT, 13))
            .draw()?;
        for (lane, row) in rows.iter().enumerate() {
            let y = (rows.len() - 1 - lane) as f64;
            if let Some((value, tolerance)) = row.predicted {
                let [low, high] = [value - tolerance, value + tolerance];
                let area = [(low.max(0.0), y + 0.08), (high.min(100.0), y + 0.92)];
                chart.draw_series([Rectangle::new(area, TOLERANCE.filled())])?;
            }
            let color = if row.holds { COLORS[0] } else { FAILED };
            let bar = [(0.0, y + 0.25), (row.percent, y + 0.75)];
            chart.draw_series([Rectangle::new(bar, color.filled())])?;
            if let Some((value, _)) = row.predicted {
                let line = [(value, y + 0.05), (value, y + 0.95)];
                chart.draw_series([PathElement::new(line, BLACK.stroke_width(2))])?;
            }
            let style =
                |color, at| (FONT, 13).into_font().color(color).pos(Pos::new(at, VPos::Center));
            let (left, middle) = chart.backend_coord(&(0.0, y + 0.5));
            root.draw(&Text::new(row.name, (left - 8, middle), style(&BLACK, HPos::Right)))?;
            let (right, _) = chart.backend_coord(&(100.0, y + 0.5));
            let value = format!("{:.1} %", row.percent);
            root.draw(&Text::new(value, (right + 8, middle), style(&color, HPos::Left)))?;
        }
        root.present()
    };
    svg(draw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_has_its_bar_and_its_prediction() {
        let row = |percent, predicted, holds| Measured { name: "a<b", percent, predicted, holds };
        let rows = [row(70.0, Some((66.7, 8.1)), true), row(0.0, None, true)];
        let text = predictions(&rows).expect("drawn");
        assert!(text.contains("a&lt;b") && !text.contains("a<b"), "{text}");
        assert!(text.contains("70.0 %"), "{text}");
        // Two bars, a tolerance, and the background.
        assert_eq!(text.matches("<rect").count(), 4, "{text}");
        assert!(!text.contains("#B3261E"), "nothing failed: {text}");
        let failed = predictions(&[row(10.0, Some((66.7, 8.1)), false)]).expect("drawn");
        assert!(failed.contains("#B3261E"), "{failed}");
        assert!(predictions(&[]).is_ok());
    }
}
