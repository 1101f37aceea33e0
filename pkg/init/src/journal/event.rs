//! Events as lines of a ring: kind of container, name, what happened, and a detail, with zeros between them.

use bootwright_bundle::control::Event;

use super::Record;

/// Bytes of a detail.
const DETAIL: usize = 200;

/// An event as a line.
pub fn encode(kind: &str, name: &str, what: &str, detail: &str) -> Vec<u8> {
    let detail = detail.get(..detail.floor_char_boundary(DETAIL)).unwrap_or_default();
    [kind, name, what, detail].join("\0").into_bytes()
}

impl Record<'_> {
    /// As the control channel shows it, if it is an event.
    pub fn event(&self) -> Event {
        let text = String::from_utf8_lossy(&self.text.concat()).into_owned();
        let mut parts = text.splitn(4, '\0').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        let (kind, name, what, detail) = (next(), next(), next(), next());
        Event { at: self.mark.uptime / 1000, kind, name, what, detail, lost: (self.lost > 0).then_some(self.lost) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Mark;

    #[test]
    fn events_come_back_and_none_is_long() {
        let line = encode("service", "web", "backoff", &"ü".repeat(DETAIL));
        let mark = Mark { uptime: 1_234_567, ..Mark::default() };
        let event = Record { mark, source: "", text: [&line[..20], &line[20..]], lost: 0 }.event();
        assert_eq!((event.at, event.kind.as_str(), event.name.as_str()), (1234, "service", "web"));
        assert_eq!((event.what.as_str(), event.detail.len(), event.lost), ("backoff", DETAIL, None));
        let event = Record { mark, source: "", text: [b"", b""], lost: 2 }.event();
        assert_eq!(event, Event { at: 1234, lost: Some(2), ..Event::default() });
    }
}
