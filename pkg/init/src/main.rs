//! `bootwright-init`: PID 1 of a machine, and every other program of init, as one static binary.
//!
//! Which of them runs is decided by pid and arguments (`applet`). PID 1 is single-threaded, allocates little, and
//! has no panic path; what could abort (the container library) runs in short-lived children of the same binary. The order
//! of a boot is told in `boot`, that of a machine's life in `supervise`.

#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a test may panic"))]

mod applet;
mod boot;
mod cgroups;
mod container;
mod control;
mod journal;
mod link;
mod mounts;
mod output;
mod probe;
mod report;
mod supervise;
mod sys;

fn main() -> std::process::ExitCode {
    applet::run()
}
