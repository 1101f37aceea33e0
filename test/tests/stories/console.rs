//! Consoles are for people, and must not cost the machine anything: one that takes nothing any more holds nobody up.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::thread;

use bootwright_test::{Entry, Story, words};

/// What init says on a console that has lost lines.
const LOST: &str = " lines were dropped on this console";

/// The second serial port's other end stops reading for a while. The first goes on, services are started again, and in the end the
/// second gets what waited, and the number of what did not.
#[test]
fn a_stuck_uart_holds_nobody_up() {
    let flood = "line=$(head -c 1000 /dev/zero | tr '\\0' x); i=0; \
                 while [ $i -lt 12 ]; do i=$((i+1)); yes $line | head -n 60; sleep 0.5; done; while :; do echo over; sleep 1; done";
    let built = Story::new()
        .service(Entry::shell("flood", flood))
        .service(Entry::shell("fails", "sleep 0.5; exit 3").key("restart", "{delay: 500ms, max-delay: 500ms}"))
        .build();
    let path = built.dir().join("second-console");
    let listener = UnixListener::bind(&path).unwrap();
    let chardev = format!("socket,id=second,path={}", path.display());
    let boot = built.boot().argument("console=ttyS1").qemu(["-chardev", &chardev, "-serial", "chardev:second"]);
    let mut machine = boot.memory(256).start();
    let (mut second, _) = listener.accept().unwrap();
    machine.sees_all(&["flood: over", "(restart 5)"]);
    let first = machine.lines().iter().filter(|line| line.starts_with("flood: x")).count();

    // Now it is read again.
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        second.read_to_end(&mut all).map(|_| String::from_utf8_lossy(&all).into_owned())
    });
    machine.sees("flood: over");
    machine.powers_off();
    let second = reader.join().unwrap().unwrap();
    let floods = second.lines().filter(|line| line.starts_with("flood: x")).count();
    assert!(floods < first, "it was never stuck: {floods} lines of {first}");
    assert!(second.contains(LOST), "it does not say that it has lost lines:\n{}", tail(&second));
    assert!(second.contains(&format!("{}poweroff", words::END)), "it goes on when it is read:\n{}", tail(&second));
}

fn tail(text: &str) -> &str {
    text.get(text.len().saturating_sub(2000)..).unwrap_or(text)
}
