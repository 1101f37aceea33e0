//! Answers as people read them, on the host and in the machine alike.

use std::fmt::Write;

use super::{Event, LogLine, UnitStatus};

/// The containers as a table.
#[must_use]
pub fn status_table(units: &[UnitStatus]) -> String {
    let dash = || "-".to_owned();
    let mut rows =
        vec![["NAME", "KIND", "STATE", "PID", "UPTIME", "RESTARTS", "MEMORY", "LAST END"].map(str::to_owned)];
    rows.extend(units.iter().map(|unit| {
        [
            unit.name.clone(),
            unit.kind.clone(),
            unit.state.name().to_owned(),
            unit.pid.map_or_else(dash, |pid| pid.to_string()),
            unit.uptime.map_or_else(dash, duration),
            unit.restarts.to_string(),
            unit.memory.map_or_else(dash, bytes),
            unit.outcome.clone().unwrap_or_else(dash),
        ]
    }));
    let widths: [usize; 8] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut table = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// A time span, given in milliseconds: its two largest units.
fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, ..) => format!("{d}d{h}h"),
    }
}

fn bytes(bytes: u64) -> String {
    let kib = bytes.div_ceil(1024);
    if kib < 10 * 1024 { format!("{kib} KiB") } else { format!("{} MiB", kib / 1024) }
}

/// A line of a log, with its time in UTC.
#[must_use]
pub fn log_line(line: &LogLine) -> String {
    format!("{} {line}", timestamp(line.time))
}

/// An event, with the seconds since the kernel started.
#[must_use]
pub fn event_line(event: &Event) -> String {
    let Event { at, kind, name, what, detail, lost } = event;
    let mut line = format!("{:>5}.{:03} ", at / 1000, at % 1000);
    match lost {
        Some(lost) => line.push_str(&format!("({lost} events are missing)")),
        None => {
            line.extend([kind, name, what].into_iter().filter(|word| !word.is_empty()).flat_map(|word| [" ", word]))
        }
    }
    if !detail.is_empty() {
        line.extend([": ", detail]);
    }
    line
}

/// Microseconds since 1970 as a time in UTC, as RFC 3339 writes it, with milliseconds.
#[must_use]
pub fn timestamp(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    let (days, second) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        microseconds / 1000 % 1000
    )
}

/// The date of a day since 1970-01-01, by the proleptic Gregorian calendar: the year is taken to begin in March, so that
/// what differs between years comes last.
fn date(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01; then 400 years are 146097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let month_of_year = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month >= 10), month_of_year, day - (153 * month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_container() {
        let web = UnitStatus {
            name: "web".into(),
            kind: "service".into(),
            state: State::Running,
            pid: Some(312),
            uptime: Some(3_723_000),
            restarts: 2,
            outcome: Some("exit code 1".into()),
            says: String::new(),
            memory: Some(3 << 20),
        };
        let setup = UnitStatus {
            name: "set-up".into(),
            kind: "onboot".into(),
            state: State::Down,
            pid: None,
            uptime: None,
            restarts: 0,
            outcome: None,
            says: String::new(),
            memory: None,
        };
        assert_eq!(
            status_table(&[setup, web]),
            "NAME    KIND     STATE    PID  UPTIME  RESTARTS  MEMORY    LAST END\n\
             set-up  onboot   down     -    -       0         -         -\n\
             web     service  running  312  1h2m    2         3072 KiB  exit code 1\n"
        );
        for (ms, text) in [(999, "0s"), (61_000, "1m1s"), (90_000_000, "1d1h")] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn events_are_short_lines() {
        let event = Event { at: 61_005, kind: "service".into(), name: "web".into(), ..Event::default() };
        let ended = Event { what: "backoff".into(), detail: "exit code 1".into(), ..event.clone() };
        assert_eq!(event_line(&ended), "   61.005  service web backoff: exit code 1");
        assert_eq!(event_line(&Event { lost: Some(3), ..event }), "   61.005 (3 events are missing)");
    }

    #[test]
    fn times_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let line = LogLine {
                source: "web".into(),
                stream: "stdout".into(),
                time: seconds * 1_000_000 + 5_000,
                uptime: 0,
                text: "hi".into(),
                lost: None,
            };
            assert_eq!(log_line(&line), format!("{text}.005Z web: hi"));
        }
    }
}
