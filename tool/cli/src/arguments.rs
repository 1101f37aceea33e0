//! LinuxKit's ways of writing flags, turned into ours before clap sees them.
//!
//! LinuxKit's documentation and scripts write long flags with one dash (`-format raw`), and its `-v` takes a number. Only
//! names that are long flags of ours are touched, so that nothing else changes its meaning.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::CommandFactory;

/// Rewrites the arguments.
pub fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let longs = long_flags(&crate::Cli::command());
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
        match text.strip_prefix('-') {
            Some(rest) if rest.len() > 1 && !rest.starts_with('-') && longs.contains(name(rest)) => {
                out.push(format!("-{text}").into());
            }
            _ => out.push(argument),
        }
    }
    out
}

/// What stands before `=`.
fn name(flag: &str) -> &str {
    flag.split_once('=').map_or(flag, |(name, _)| name)
}

/// The long flags and aliases of a command and all below it.
fn long_flags(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().flat_map(|a| a.get_long_and_visible_aliases().unwrap_or_default());
    let hidden = command.get_arguments().flat_map(|a| a.get_all_aliases().unwrap_or_default());
    let mut all: BTreeSet<String> = own.chain(hidden).map(str::to_owned).collect();
    for below in command.get_subcommands() {
        all.extend(long_flags(below));
    }
    all
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
            ("bootwright run x -- -mem", "bootwright run x -- -mem"),
        ] {
            assert_eq!(normalised(given), want);
        }
    }
}
