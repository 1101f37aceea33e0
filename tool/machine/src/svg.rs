//! The boot report as a chart: a bar for each thing that took time, from left to right.
//!
//! Pure: the same report makes the same bytes. Plain SVG 1.1 without scripts or styles from elsewhere, so that any viewer and any
//! mail program shows it.

use std::fmt::Write;

use bootwright_bundle::control::Report;

/// Pixels: a row, the names on the left, the chart, and what is around it.
const ROW: f64 = 20.0;
const NAMES: f64 = 210.0;
const CHART: f64 = 720.0;
const TOP: f64 = 56.0;
const EDGE: f64 = 70.0;

/// One row.
struct Row {
    name: String,
    color: &'static str,
    start: f64,
    end: f64,
    /// When it was ready, if it goes on after that.
    ready: Option<f64>,
    text: String,
}

/// Draws a report.
#[must_use]
pub fn svg(report: &Report) -> String {
    let rows = rows(report);
    let end = rows.iter().flat_map(|row| [row.end, row.ready.unwrap_or(0.0)]).chain(report.ready).fold(1.0, f64::max);
    let begin = rows.iter().map(|row| row.start).fold(0.0, f64::min);
    let step = step(end - begin);
    let x = |time: f64| NAMES + (time - begin) / (end - begin) * CHART;
    let (width, height) = (NAMES + CHART + EDGE, TOP + ROW * rows.len() as f64 + 40.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let title = match report.ready {
        Some(ready) => format!("ready {ready:.0} ms after the kernel started"),
        None => "not ready yet".to_owned(),
    };
    text(&mut out, 12.0, 22.0, "start", "16", &title);
    let mut tick = (begin / step).ceil() * step;
    while tick <= end {
        let at = x(tick);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
            TOP - 8.0,
            height - 34.0
        );
        text(&mut out, at, TOP - 12.0, "middle", "11", &format!("{tick:.0} ms"));
        tick += step;
    }
    for (i, row) in rows.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        text(&mut out, NAMES - 8.0, y + 14.0, "end", "12", &row.name);
        let (from, to) = (x(row.start), x(row.end));
        bar(&mut out, from, y + 3.0, (to - from).max(1.0), row.color, "1");
        let after = match row.ready {
            Some(ready) if x(ready) > to => {
                bar(&mut out, to, y + 3.0, x(ready) - to, row.color, "0.4");
                x(ready)
            }
            _ => to,
        };
        // Beside the bar, on the side where there is room.
        if after < NAMES + CHART * 0.8 {
            text(&mut out, after + 5.0, y + 14.0, "start", "11", &row.text);
        } else {
            text(&mut out, from - 5.0, y + 14.0, "end", "11", &row.text);
        }
    }
    if let Some(ready) = report.ready {
        let at = x(ready);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"#c00\"/>",
            TOP - 8.0,
            height - 34.0
        );
    }
    legend(&mut out, height - 12.0);
    out.push_str("</svg>\n");
    out
}

const BEFORE: (&str, &str) = ("firmware, loader, kernel", "#888");
const INIT: (&str, &str) = ("init", "#4a7ebb");
const MODULES: (&str, &str) = ("modules", "#8064a2");
const ONBOOT: (&str, &str) = ("onboot", "#e0a030");
const SERVICE: (&str, &str) = ("service (pale: until ready)", "#4f9d4f");

fn rows(report: &Report) -> Vec<Row> {
    let row = |name: &str, color, start: f64, end: f64| Row {
        name: name.to_owned(),
        color,
        start,
        end,
        ready: None,
        text: format!("{:.0} ms", end - start),
    };
    let mut rows = Vec::new();
    // Time before the kernel has no place on its clock; it is drawn to the left of it.
    let loader = report.loader.unwrap_or(0.0);
    if let Some(firmware) = report.firmware {
        rows.push(row("firmware", BEFORE.1, -loader - firmware, -loader));
    }
    if report.loader.is_some() {
        rows.push(row("loader", BEFORE.1, -loader, 0.0));
    }
    if let Some(kernel) = report.kernel {
        rows.push(row("kernel", BEFORE.1, 0.0, kernel));
    }
    rows.extend(report.phases.iter().map(|phase| row(&phase.name, INIT.1, phase.start, phase.end)));
    rows.extend(report.modules.iter().map(|batch| row(&shorten(&batch.name), MODULES.1, batch.start, batch.end)));
    for unit in &report.units {
        let service = unit.kind == "service";
        let color = if service { SERVICE.1 } else { ONBOOT.1 };
        let end = if service { unit.started } else { unit.ended };
        let end = end.or(unit.ended).unwrap_or(unit.start);
        let cpu = unit.cpu.map(|cpu| format!(", cpu {cpu:.0} ms")).unwrap_or_default();
        let text = format!("{:.0} ms{cpu}", unit.ready.filter(|_| service).unwrap_or(end) - unit.start);
        rows.push(Row { text, ready: unit.ready.filter(|_| service), ..row(&unit.name, color, unit.start, end) });
    }
    rows
}

/// A name that fits beside the chart.
fn shorten(name: &str) -> String {
    if name.chars().count() <= 30 { name.to_owned() } else { name.chars().take(29).chain(['…']).collect() }
}

/// A round distance between ticks, of which there are then four to ten.
fn step(span: f64) -> f64 {
    let power = 10f64.powf((span / 10.0).max(0.1).log10().ceil());
    [power / 5.0, power / 2.0].into_iter().find(|step| span / step <= 10.0).unwrap_or(power)
}

fn bar(out: &mut String, x: f64, y: f64, width: f64, color: &str, opacity: &str) {
    let height = ROW - 6.0;
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\" \
         fill-opacity=\"{opacity}\"/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, size: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ =
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>");
}

fn legend(out: &mut String, y: f64) {
    let mut x = NAMES;
    for (name, color) in [BEFORE, INIT, MODULES, ONBOOT, SERVICE] {
        bar(out, x, y - 11.0, 12.0, color, "1");
        text(out, x + 17.0, y, "start", "11", name);
        x += 30.0 + 7.0 * name.chars().count() as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootwright_bundle::control::{Phase, UnitReport};

    fn phase(name: &str, start: f64, end: f64) -> Phase {
        Phase { name: name.into(), start, end }
    }

    fn report() -> Report {
        Report {
            firmware: Some(410.0),
            loader: Some(90.0),
            kernel: Some(800.0),
            ready: Some(1900.0),
            phases: vec![phase("mounts", 810.0, 840.0), phase("modules", 840.0, 1200.0)],
            modules: vec![phase("virtio_pci virtio_blk virtio_net virtio_console", 850.0, 1190.0)],
            units: vec![
                UnitReport {
                    name: "set-up".into(),
                    kind: "onboot".into(),
                    start: 1210.0,
                    started: Some(1300.0),
                    ended: Some(1400.0),
                    cpu: Some(35.5),
                    ready: None,
                },
                UnitReport {
                    name: "a<b>&c".into(),
                    kind: "service".into(),
                    start: 1410.0,
                    started: Some(1500.0),
                    ready: Some(1900.0),
                    ..UnitReport::default()
                },
            ],
        }
    }

    /// `BOOTWRIGHT_REWRITE=1` writes it anew; look at it before it is kept.
    #[test]
    fn a_report_is_drawn_as_it_was() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boot-report.svg");
        let drawn = svg(&report());
        if std::env::var_os("BOOTWRIGHT_REWRITE").is_some() {
            std::fs::write(path, &drawn).unwrap();
        }
        assert_eq!(drawn, std::fs::read_to_string(path).unwrap());
        assert!(drawn.contains(">a&lt;b&gt;&amp;c</text>"));
    }

    #[test]
    fn a_report_without_anything_is_a_chart_too() {
        let drawn = svg(&Report::default());
        assert!(drawn.contains("not ready yet") && !drawn.contains("NaN"));
    }

    #[test]
    fn ticks_are_round_and_few() {
        for span in [1.0, 7.0, 99.0, 100.0, 1234.0, 2400.0, 60_000.0] {
            let ticks = span / step(span);
            assert!((2.0..=10.0).contains(&ticks), "{span}: {ticks}");
        }
        assert_eq!(step(2400.0), 500.0);
    }
}
