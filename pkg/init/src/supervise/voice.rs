//! What init says about containers on the consoles: each failure with name, exit code or signal, and the last lines.

use std::time::Duration;

use bootwright_early::Consoles;

use super::record::Record;
use super::runner::Outcome;
use super::sequence::Saying;
use super::unit::{Kind, Unit};
use crate::control::Desk;
use crate::output::Printed;

/// Lines of output that are repeated when a container fails.
pub const LAST_LINES: usize = 20;

/// Puts a line of the container at a position into the journal and on the consoles.
pub fn echo(consoles: &mut Consoles, desk: &mut Desk, position: usize, unit: &Unit, printed: Printed, line: &[u8]) {
    desk.line(position, printed.stream(), line);
    if !desk.shows() {
        return;
    }
    let mut text = Vec::with_capacity(unit.name.len() + 2 + line.len());
    text.extend_from_slice(unit.name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(line);
    consoles.line(&text);
}

/// Says something about a container. `other` is the one that it is about too.
pub fn say(consoles: &mut Consoles, unit: &Unit, record: &Record, saying: Saying, other: Option<&Unit>) {
    let fine = record.outcome.as_ref().is_some_and(Outcome::is_good);
    if saying == Saying::Over && unit.kind == Kind::Onboot && fine {
        return;
    }
    consoles.say(&sentence(unit, record, saying, other.map_or("", |unit| unit.name.as_str())));
    if tells_lines(saying, record, fine) {
        for line in record.output.last(LAST_LINES) {
            let mut text = b"bootwright:   | ".to_vec();
            text.extend_from_slice(line);
            consoles.own_line(&text);
        }
    }
}

/// Whether what it printed last belongs to it. One that fails again and again has been quoted the first time.
fn tells_lines(saying: Saying, record: &Record, fine: bool) -> bool {
    match saying {
        Saying::Over | Saying::TooOften => !fine && record.asked.is_none(),
        Saying::Again(_, _, first) => !fine && first && record.asked.is_none(),
        Saying::NotReady(_) | Saying::Unhealthy(_) => true,
        Saying::AtOnce | Saying::Blocked(_) | Saying::Late(_) | Saying::Hurried | Saying::Stuck => false,
    }
}

fn sentence(unit: &Unit, record: &Record, saying: Saying, other: &str) -> String {
    let who = format!("{} `{}`", unit.kind.word(), unit.name);
    let never_ran = matches!(record.outcome, Some(Outcome::NotStarted(_)));
    let outcome = record.outcome.as_ref().map_or_else(|| "nothing".to_owned(), Outcome::to_string);
    let found = if record.found.is_empty() { String::new() } else { format!(" ({})", record.found) };
    match saying {
        Saying::Over => match record.asked {
            Some(after) => format!("{who} ended: {outcome}, {} ms after it was asked to", after.as_millis()),
            None => format!("{who} ended: {outcome}"),
        },
        Saying::Again(pause, count, _) if never_ran => {
            format!("{who} {outcome}; trying again in {} (restart {count})", span(pause))
        }
        Saying::Again(pause, count, _) => format!(
            "{who} ended with {outcome} after {}; starting it again in {} (restart {count})",
            span(record.ran),
            span(pause)
        ),
        Saying::AtOnce => format!("{who} ended with {outcome}; starting it again, as was asked for"),
        Saying::TooOften => format!("{who} ended: {outcome}; it was started again too often and stays down"),
        Saying::NotReady(time) => format!("{who} is not ready within {}{found} and is asked to end", span(time)),
        Saying::Unhealthy(count) => {
            format!("{who} failed its health check {count} times in a row{found} and is asked to end")
        }
        Saying::Blocked(_) => format!("{who} stays down: `{other}`, which it requires, failed"),
        Saying::Late(grace) => format!("{who} did not end in time ({}) and is killed", span(grace)),
        Saying::Hurried => format!("{who} is killed, as the end was asked for again"),
        Saying::Stuck => format!("{who} was killed and is still there"),
    }
}

/// A time for people.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 if time.subsec_millis() >= 50 && time.subsec_millis() < 950 => format!("{:.1} s", time.as_secs_f64()),
        0..120 => format!("{:.0} s", time.as_secs_f64()),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use bootwright_bundle::Supervision;

    use super::*;

    #[test]
    fn what_is_said_of_a_service() {
        let (name, directory) = ("web".to_owned(), "web".to_owned());
        let unit = Unit { kind: Kind::Service, name, directory, supervision: Supervision::default() };
        let seconds = Duration::from_secs;
        let exited = Record { outcome: Some(Outcome::Exited(1)), ran: seconds(3), ..Record::default() };
        let killed = Record {
            outcome: Some(Outcome::Killed(9)),
            asked: Some(Duration::from_millis(3004)),
            ran: seconds(300),
            found: "port 80: connection refused".to_owned(),
            ..Record::default()
        };
        let never = Record { outcome: Some(Outcome::NotStarted("no".to_owned())), ..Record::default() };
        for (record, saying, expected) in [
            (&exited, Saying::Over, "ended: exit code 1"),
            (&killed, Saying::Over, "ended: signal 9 (SIGKILL), 3004 ms after it was asked to"),
            (
                &exited,
                Saying::Again(seconds(2), 3, true),
                "ended with exit code 1 after 3 s; starting it again in 2 s (restart 3)",
            ),
            (&never, Saying::Again(seconds(1), 1, true), "not started: no; trying again in 1 s (restart 1)"),
            (&exited, Saying::AtOnce, "ended with exit code 1; starting it again, as was asked for"),
            (&exited, Saying::TooOften, "ended: exit code 1; it was started again too often and stays down"),
            (&exited, Saying::NotReady(seconds(5)), "is not ready within 5 s and is asked to end"),
            (
                &killed,
                Saying::Unhealthy(3),
                "failed its health check 3 times in a row (port 80: connection refused) and is asked to end",
            ),
            (&exited, Saying::Blocked(1), "stays down: `db`, which it requires, failed"),
            (&exited, Saying::Late(seconds(10)), "did not end in time (10 s) and is killed"),
            (&exited, Saying::Hurried, "is killed, as the end was asked for again"),
            (&exited, Saying::Stuck, "was killed and is still there"),
        ] {
            assert_eq!(sentence(&unit, record, saying, "db"), format!("service `web` {expected}"));
        }
    }

    #[test]
    fn times_are_as_short_as_they_can_be_told() {
        for (milliseconds, text) in
            [(0, "0 s"), (300, "0.3 s"), (1000, "1 s"), (1004, "1 s"), (9940, "9.9 s"), (119_000, "119 s")]
        {
            assert_eq!(span(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(span(Duration::from_secs(600)), "10 min");
        assert_eq!(span(Duration::from_secs(7200)), "2 h");
    }
}
