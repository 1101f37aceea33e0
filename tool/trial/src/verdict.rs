//! What was seen against what was expected: nothing here looks by itself. An error is a sentence with both.

use std::time::Duration;

use bootwright_machine::control::{State, UnitStatus};
use bootwright_spec::FileContent;

/// Characters of what was seen that a message shows.
const SHOWN: usize = 200;

/// What a program did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// A page, as it was served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Bytes for people: what there is of it in a line, and that there is more.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    if text.is_empty() {
        return "nothing".to_owned();
    }
    let shown: String = text.chars().take(SHOWN).flat_map(escape).collect();
    let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("`{shown}{more}`")
}

fn escape(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

/// A time for people.
pub(crate) fn time(time: Duration) -> String {
    match time.as_millis() {
        0..500 => format!("{} ms", time.as_millis()),
        milliseconds => format!("{} s", (milliseconds + 500) / 1000),
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn must_hold(what: &str, bytes: &[u8], text: Option<&str>) -> Result<(), String> {
    match text {
        Some(text) if !holds(bytes, text) => {
            Err(format!("expected {} in {what}, saw {}", excerpt(text.as_bytes()), excerpt(bytes)))
        }
        _ => Ok(()),
    }
}

/// A program's end and its words.
pub(crate) fn ran(ran: &Ran, code: u8, stdout: Option<&str>, stderr: Option<&str>) -> Result<(), String> {
    if ran.code != code {
        let said = if ran.stderr.is_empty() { &ran.stdout } else { &ran.stderr };
        return Err(format!("expected exit code {code}, saw {}; it said {}", ran.code, excerpt(said)));
    }
    must_hold("its standard output", &ran.stdout, stdout)?;
    must_hold("its standard error", &ran.stderr, stderr)
}

/// A page.
pub(crate) fn page(
    page: &Page,
    status: u16,
    contains: Option<&str>,
    header: Option<&(String, String)>,
) -> Result<(), String> {
    if page.status != status {
        return Err(format!("expected status {status}, saw {}; the page is {}", page.status, excerpt(&page.body)));
    }
    if let Some((name, text)) = header {
        let values = page.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let values: Vec<&str> = values.map(String::as_str).collect();
        if !values.iter().any(|value| value.contains(text.as_str())) {
            let seen = if values.is_empty() { "none".to_owned() } else { format!("`{}`", values.join("`, `")) };
            return Err(format!("expected `{text}` in a header `{name}`, saw {seen}"));
        }
    }
    must_hold("the page", &page.body, contains)
}

/// An answer on a port.
pub(crate) fn answer(bytes: &[u8], contains: &str) -> Result<(), String> {
    must_hold("the answer", bytes, Some(contains))
}

/// A file; none: there is no such file.
pub(crate) fn file(bytes: Option<&[u8]>, content: &FileContent) -> Result<(), String> {
    match (bytes, content) {
        (None, FileContent::Absent) | (Some(_), FileContent::Any) => Ok(()),
        (None, _) => Err("expected a file, and there is none".to_owned()),
        (Some(bytes), FileContent::Absent) => Err(format!("expected no file, and there is one: {}", excerpt(bytes))),
        (Some(bytes), FileContent::Contains(text)) => must_hold("the file", bytes, Some(text)),
        (Some(bytes), FileContent::Equals(text)) if bytes == text.as_bytes() => Ok(()),
        (Some(bytes), FileContent::Equals(text)) => Err(format!(
            "expected {} and nothing else, saw {} ({} bytes instead of {})",
            excerpt(text.as_bytes()),
            excerpt(bytes),
            bytes.len(),
            text.len()
        )),
    }
}

/// A container, a service before others of its name.
pub(crate) fn service(units: &[UnitStatus], name: &str, state: &str, restarts: Option<u64>) -> Result<(), String> {
    let named = units.iter().filter(|unit| unit.name == name);
    let Some(unit) = named.max_by_key(|unit| unit.kind == "service") else {
        return Err(format!("the machine has no container `{name}`"));
    };
    // What is ready runs.
    let is = unit.state.name() == state || (state == "running" && unit.state == State::Ready);
    let outcome = unit.outcome.as_ref().map(|outcome| format!("; last it ended with {outcome}")).unwrap_or_default();
    if !is {
        return Err(format!("expected state `{state}`, saw `{}`{outcome}", unit.state.name()));
    }
    match restarts {
        Some(count) if count != unit.restarts => {
            Err(format!("expected {count} restarts, saw {}{outcome}", unit.restarts))
        }
        _ => Ok(()),
    }
}

/// The files that are booted.
pub(crate) fn size(size: u64, limit: u64) -> Result<(), String> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    if size <= limit {
        return Ok(());
    }
    Err(format!("expected at most {limit} bytes ({:.2} MiB), saw {size} ({:.2} MiB)", mib(limit), mib(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, kind: &str, state: State, restarts: u64) -> UnitStatus {
        let outcome = Some("exit code 3".to_owned());
        let (name, kind) = (name.to_owned(), kind.to_owned());
        UnitStatus { name, kind, state, pid: None, uptime: None, restarts, outcome, says: String::new(), memory: None }
    }

    #[test]
    fn what_is_seen_is_in_the_sentence() {
        let program = Ran { code: 3, stdout: b"out\n".to_vec(), stderr: b"no such\nthing\n".to_vec() };
        let header = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let served = Page { status: 200, headers: vec![header("content-type", "text/html")], body: b"<h1>".to_vec() };
        let units = [unit("web", "onboot", State::Down, 0), unit("web", "service", State::Ready, 2)];
        let equals = FileContent::Equals("a\n".into());
        for (result, expected) in [
            (ran(&program, 3, Some("ou"), Some("thing")), Ok(())),
            (ran(&program, 0, None, None), Err("expected exit code 0, saw 3; it said `no such\\nthing`")),
            (ran(&program, 3, Some("in"), None), Err("expected `in` in its standard output, saw `out`")),
            (page(&served, 200, Some("h1"), Some(&header("Content-Type", "html"))), Ok(())),
            (page(&served, 404, None, None), Err("expected status 404, saw 200; the page is `<h1>`")),
            (page(&served, 200, Some("h2"), None), Err("expected `h2` in the page, saw `<h1>`")),
            (
                page(&served, 200, None, Some(&header("content-type", "json"))),
                Err("expected `json` in a header `content-type`, saw `text/html`"),
            ),
            (page(&served, 200, None, Some(&header("etag", "x"))), Err("expected `x` in a header `etag`, saw none")),
            (answer(b"", "PONG"), Err("expected `PONG` in the answer, saw nothing")),
            (file(Some(b"a\n"), &equals), Ok(())),
            (file(Some(b"a"), &equals), Err("expected `a` and nothing else, saw `a` (1 bytes instead of 2)")),
            (file(None, &equals), Err("expected a file, and there is none")),
            (file(None, &FileContent::Absent), Ok(())),
            (file(Some(b"x"), &FileContent::Absent), Err("expected no file, and there is one: `x`")),
            (file(Some(b""), &FileContent::Any), Ok(())),
            (service(&units, "web", "ready", Some(2)), Ok(())),
            (service(&units, "web", "running", None), Ok(())),
            (
                service(&units, "web", "failed", None),
                Err("expected state `failed`, saw `ready`; last it ended with exit code 3"),
            ),
            (
                service(&units, "web", "ready", Some(0)),
                Err("expected 0 restarts, saw 2; last it ended with exit code 3"),
            ),
            (service(&units, "wbe", "ready", None), Err("the machine has no container `wbe`")),
            (size(1 << 20, 1 << 20), Ok(())),
            (size(3 << 19, 1 << 20), Err("expected at most 1048576 bytes (1.00 MiB), saw 1572864 (1.50 MiB)")),
        ] {
            assert_eq!(result, expected.map_err(str::to_owned));
        }
        assert_eq!([999, 1000, 90_000, 20].map(|ms| time(Duration::from_millis(ms))), ["1 s", "1 s", "90 s", "20 ms"]);
        assert_eq!(excerpt(&[b'x'; 300]).chars().count(), SHOWN + 3);
    }
}
