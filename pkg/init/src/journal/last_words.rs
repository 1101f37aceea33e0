//! What was said last, for the hook that runs when PID 1 itself panics.
//!
//! The kernel ends the machine next, and the journal with it, so the hook repeats a little of it: of those that spoke last, the last
//! lines. It runs wherever PID 1 was, so it takes what it can have without waiting and without a panic of its own: a journal that
//! was just being written to, or a thread that has none, gives nothing. pstore keeps 10 KiB of the kernel's log, of which the
//! kernel's own words take a third; all that is said here fits into the rest.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use bootwright_early::Consoles;

use super::{INIT, Journal, PSTORE, crash};

/// Sources that are heard at most.
const SOURCES: usize = 8;
/// Lines of each at most.
const LINES: usize = 5;
/// Lines among which they are looked for: init quotes up to 20 of a container that has failed.
const WINDOW: u64 = 30;
/// What init's quotes begin with.
const QUOTE: &[u8] = b"  | ";
/// Bytes of a line at most, its source's name included.
const WIDTH: usize = 140;

thread_local!(static JOURNAL: OnceCell<Rc<RefCell<Journal>>> = const { OnceCell::new() });

/// Puts a journal where a panic of this thread finds it.
pub fn share(journal: Journal) -> Rc<RefCell<Journal>> {
    let journal = Rc::new(RefCell::new(journal));
    let _ = JOURNAL.try_with(|place| place.set(Rc::clone(&journal)));
    journal
}

/// Puts the last lines where a crash does not reach them, and those of containers on the consoles, which have init's already.
pub fn repeat(consoles: &mut Consoles) {
    let lines = find();
    crash::to_kernel(lines.iter().map(|(_, line)| line.as_slice()));
    for (_, line) in lines.iter().filter(|(source, _)| *source != INIT) {
        consoles.own_line(&[b"bootwright: ", QUOTE, line.as_slice()].concat());
    }
}

/// The last lines of this thread's journal and their sources, if they can be had.
fn find() -> Vec<(usize, Vec<u8>)> {
    let found = JOURNAL.try_with(|place| place.get()?.try_borrow().ok().map(|journal| choose(&journal)));
    found.ok().flatten().unwrap_or_default()
}

/// The last lines of those that spoke last; whoever did so last of all comes last, nearest to the end.
fn choose(journal: &Journal) -> Vec<(usize, Vec<u8>)> {
    let logs = journal.find(None).filter(|source| *source != PSTORE);
    let mut spoke: Vec<_> = logs.filter_map(|source| Some((journal.newest(source)?, source))).collect();
    spoke.sort_unstable();
    let mut lines = Vec::new();
    for (_, source) in spoke.drain(spoke.len().saturating_sub(SOURCES)..) {
        let name = journal.name(source).as_bytes();
        let mut last = journal.last(source, WINDOW);
        last.retain(|text| source != INIT || !text.starts_with(QUOTE));
        for text in last.drain(last.len().saturating_sub(LINES)..) {
            let mut line = [name, b": ", text.as_slice()].concat();
            line.truncate(WIDTH);
            lines.push((source, line));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::{EVENTS, FIRST_UNIT};
    use super::*;

    fn text(lines: Vec<(usize, Vec<u8>)>) -> Vec<String> {
        lines.into_iter().map(|(_, line)| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn those_that_spoke_last_are_heard_the_last_one_last() {
        let mut journal = Journal::new(["db", "web", "silent"].into_iter());
        for i in 0..9 {
            journal.push(FIRST_UNIT + 1, 1, format!("request {i}").as_bytes());
        }
        journal.push(INIT, 1, b"service `db` ended with exit code 1");
        for _ in 0..20 {
            journal.push(INIT, 1, b"  | said by db");
        }
        journal.push(FIRST_UNIT, 2, b"no disk");
        journal.push(PSTORE, 1, b"of another boot");
        journal.push(EVENTS, 1, b"no line");
        assert_eq!(
            text(choose(&journal)),
            [
                "web: request 4",
                "web: request 5",
                "web: request 6",
                "web: request 7",
                "web: request 8",
                "init: service `db` ended with exit code 1",
                "db: no disk",
            ]
        );
    }

    #[test]
    fn many_that_say_much_are_cut_to_what_pstore_keeps() {
        let names: Vec<String> = (0..100).map(|i| format!("service-{i}")).collect();
        let mut journal = Journal::new(names.iter().map(String::as_str));
        for i in 0..1000 {
            journal.push(FIRST_UNIT + i % 100, 1, &[b'x'; 1024]);
        }
        let lines = choose(&journal);
        assert_eq!(lines.len(), 40);
        assert!(lines[0].1.starts_with(b"service-92: x") && lines[39].1.starts_with(b"service-99: x"));
        // Each with its priority, its time and our name before it.
        let kept: usize = lines.iter().map(|(_, line)| "<7>[12345.678901] bootwright: ".len() + line.len() + 1).sum();
        assert!(kept < 7 * 1024, "{kept}");
    }

    #[test]
    fn a_panic_has_what_can_be_had_and_never_panics_again() {
        thread_local!(static HEARD: RefCell<Vec<String>> = RefCell::default());
        let panics = |during: &dyn Fn()| {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
            assert!(caught.is_err());
            HEARD.take()
        };
        // The hook is the process's: other tests that panic meanwhile find nothing in their threads.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            HEARD.with_borrow_mut(|heard| heard.extend(text(find())));
            before(panic);
        }));
        let none: [&str; 0] = [];
        let panic = || assert!("no number".parse::<u8>().is_ok(), "on purpose");
        assert_eq!(panics(&|| panic()), none, "there is no journal yet");
        let journal = share(Journal::new(["web"].into_iter()));
        journal.borrow_mut().push(FIRST_UNIT, 1, b"hello");
        assert_eq!(panics(&|| panic()), ["web: hello"]);
        assert_eq!(
            panics(&|| {
                let _reads = journal.borrow();
                panic();
            }),
            ["web: hello"]
        );
        assert_eq!(
            panics(&|| {
                let _writes = journal.borrow_mut();
                panic();
            }),
            none
        );
        assert_eq!(panics(&|| panic()), ["web: hello"], "and nothing stays behind");
        drop(std::panic::take_hook());
    }
}
