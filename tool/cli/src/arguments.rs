//! LinuxKit's ways of writing flags, turned into ours before clap sees them.
//!
//! LinuxKit's documentation and scripts write long flags with one dash (`-format raw`), its switches may be given a value
//! (`--pull=false`), and its `-v` takes a number. Only names that are long flags of ours are touched, so that nothing else
//! changes its meaning.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{ArgAction, CommandFactory};

/// Rewrites the arguments.
pub fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut flags = Flags::default();
    flags.gather(&crate::Cli::command());
    let mut out: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    out.extend(arguments.next());
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else {
            out.push(argument);
            continue;
        };
        if text == "--" {
            out.push(argument);
            out.extend(arguments);
            break;
        }
        if matches!(text, "-v" | "--v" | "-verbose" | "--verbose") {
            let level = arguments.next_if(|next| next.to_str().is_some_and(|n| n.parse::<u8>().is_ok()));
            out.push(match level {
                Some(level) => format!("--verbose={}", level.to_string_lossy()).into(),
                None => "--verbose=2".into(),
            });
            continue;
        }
        if let Some(level) = ["-v=", "--v=", "-verbose="].into_iter().find_map(|flag| text.strip_prefix(flag)) {
            out.push(format!("--verbose={level}").into());
            continue;
        }
        let one_dash = text.strip_prefix('-').filter(|rest| rest.len() > 1 && !rest.starts_with('-'));
        let long = match one_dash.filter(|rest| flags.longs.contains(name(rest))) {
            Some(_) => format!("-{text}"),
            None => text.to_owned(),
        };
        match long.strip_prefix("--").and_then(|rest| rest.split_once('=')) {
            Some((name, value)) if flags.switches.contains(name) && boolean(value) == Some(true) => {
                out.push(format!("--{name}").into());
            }
            Some((name, value)) if flags.switches.contains(name) && boolean(value) == Some(false) => {}
            _ => out.push(long.into()),
        }
    }
    out
}

/// Go's words for yes and no.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What stands before `=`.
fn name(flag: &str) -> &str {
    flag.split_once('=').map_or(flag, |(name, _)| name)
}

/// The long flags of all commands.
#[derive(Default)]
struct Flags {
    longs: BTreeSet<String>,
    /// Those that take no value.
    switches: BTreeSet<String>,
}

impl Flags {
    fn gather(&mut self, command: &clap::Command) {
        for argument in command.get_arguments() {
            let names = argument.get_long_and_visible_aliases().unwrap_or_default();
            let hidden = argument.get_all_aliases().unwrap_or_default();
            let names: BTreeSet<String> = names.into_iter().chain(hidden).map(str::to_owned).collect();
            if matches!(argument.get_action(), ArgAction::SetTrue) {
                self.switches.extend(names.iter().cloned());
            }
            self.longs.extend(names);
        }
        command.get_subcommands().for_each(|below| self.gather(below));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(line: &str) -> String {
        let words = normalise(line.split(' ').map(OsString::from));
        words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_dash_serves_for_long_flags_only() {
        for (given, want) in [
            ("bootwright build -format tar x.yml", "bootwright build --format tar x.yml"),
            ("bootwright build -format=tar x.yml", "bootwright build --format=tar x.yml"),
            ("bootwright run qemu -mem 512 x", "bootwright run qemu --mem 512 x"),
            ("bootwright build -q -o out x.yml", "bootwright build -q -o out x.yml"),
            ("bootwright build - ", "bootwright build - "),
            ("bootwright build -unknown x", "bootwright build -unknown x"),
            ("bootwright -v 2 build x.yml", "bootwright --verbose=2 build x.yml"),
            ("bootwright build -v x.yml", "bootwright build --verbose=2 x.yml"),
            ("bootwright -v=3 build x.yml", "bootwright --verbose=3 build x.yml"),
            ("bootwright build --pull=false -docker=true x.yml", "bootwright build --docker x.yml"),
            ("bootwright build --name=true x.yml", "bootwright build --name=true x.yml"),
            ("bootwright run x -- -mem", "bootwright run x -- -mem"),
        ] {
            assert_eq!(normalised(given), want);
        }
    }
}
