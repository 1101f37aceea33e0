//! A service that says by sd_notify(3) what it does, after a while that it is ready, and, if it is to, that it is well until there is
//! a file. Compiled by the story with rustc for
//! musl; it depends on nothing.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

fn main() {
    let place = std::env::var("NOTIFY_SOCKET").expect("init names the socket");
    let socket = UnixDatagram::unbound().expect("a socket");
    let say = |text: &str| socket.send_to(text.as_bytes(), &place).expect("init hears");
    say("STATUS=loading");
    println!("loading");
    std::thread::sleep(Duration::from_secs(1));
    println!("loaded");
    say("STATUS=serving\nREADY=1");
    let pulse = std::env::var("WATCHDOG_USEC").ok().map(|text| text.parse().expect("it is a number"));
    while let (Some(pulse), false) = (pulse, Path::new("/meet/enough").exists()) {
        say("WATCHDOG=1");
        std::thread::sleep(Duration::from_micros(pulse) / 4);
    }
    loop {
        std::thread::park();
    }
}
