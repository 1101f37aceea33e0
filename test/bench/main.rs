//! What the README and the closing notes quote: sizes, smallest memory, time to the first service, cost of builds, of
//! `examples/minimal.yml`; and, when they are asked for by name, kinds of root side by side, each format, services, our squashfs beside
//! `mksquashfs`, and the true floor of each kind of root.
//!
//! Boots are compared with the same kernel and flags going into a bare static init, in turns (A B A B), because the load
//! of the host changes; CPU seconds are QEMU's own, read when the line appears. Builds are measured as children of a
//! small helper (this program again), because the peak of a child starts from its parent's size. Not a gate.

mod boot;
mod build;
mod cpio;
mod floors;
mod formats;
mod roots;
mod services;
mod squashfs;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == build::MEASURE => build::measure(arguments.collect()),
        first => {
            let runs = std::env::var("RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
            let asked: Vec<_> = first.into_iter().chain(arguments).collect();
            let parts: [(&str, &dyn Fn()); 9] = [
                ("sizes", &boot::sizes),
                ("memory", &boot::smallest_memory),
                ("boot", &|| boot::first_service(runs)),
                ("build", &|| build::costs(runs)),
                ("roots", &|| roots::roots(runs)),
                ("formats", &formats::formats),
                ("services", &|| services::services(runs)),
                ("squashfs", &|| squashfs::squashfs(runs)),
                ("floors", &floors::floors),
            ];
            let names = parts.map(|(name, _)| name);
            if let Some(unknown) = asked.iter().find(|word| !names.iter().any(|name| word == name)) {
                eprintln!("no part `{}`: {}; the first four without an argument", unknown.display(), names.join(", "));
                return ExitCode::from(2);
            }
            for (at, (name, part)) in parts.into_iter().enumerate() {
                if (asked.is_empty() && at < 4) || asked.iter().any(|word| word == name) {
                    part();
                }
            }
            ExitCode::SUCCESS
        }
    }
}

/// The median, and the range behind it.
fn median(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => "–".into(),
        [one] => format!("{one:.2}"),
        [first, .., last] => format!("{:.2} [{first:.2}-{last:.2}]", values[values.len() / 2]),
    }
}
