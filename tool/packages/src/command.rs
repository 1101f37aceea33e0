//! Running the machine's own programs: found in PATH or the sbin directories (which a user's PATH lacks on Debian),
//! with a fixed locale, their last words kept for the error.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program that is missing or failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not installed.
    #[error("`{program}` is needed and not installed")]
    Missing {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// It could not be run.
    #[error("cannot run `{program}`")]
    Run {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ran and failed.
    #[error("`{command}` failed ({status}):\n{stderr}")]
    Failed {
        /// The command line, shortened.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
}

impl CommandError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { package, .. } if package.starts_with("rust") => {
                Some("install Rust: https://rustup.rs".to_owned())
            }
            Self::Missing { package, .. } => Some(format!("as root: apt-get install {package}")),
            _ => None,
        }
    }

    /// What the program said, if it failed.
    pub(crate) fn stderr(&self) -> &str {
        match self {
            Self::Failed { stderr, .. } => stderr,
            _ => "",
        }
    }
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(sbin).map(|d| d.join(program)).find(|p| p.is_file())
}

/// A command for a program, in the C locale and without input.
pub(crate) fn command(program: &str, package: &'static str) -> Result<Command, CommandError> {
    let path = find(program).ok_or_else(|| CommandError::Missing { program: program.to_owned(), package })?;
    let mut command = Command::new(path);
    command.env("LC_ALL", "C.UTF-8").env_remove("LANGUAGE").stdin(Stdio::null());
    Ok(command)
}

/// Runs a command to its end and returns what it wrote.
pub(crate) fn run(command: &mut Command) -> Result<Output, CommandError> {
    let output = command.output().map_err(|source| CommandError::Run { program: name(command), source })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(CommandError::Failed {
        command: shown(command),
        status: output.status.to_string(),
        stderr: tail(&output.stderr),
    })
}

/// Runs a command whose standard output goes to a file.
pub(crate) fn run_into(command: &mut Command, out: std::fs::File) -> Result<(), CommandError> {
    run(command.stdout(out)).map(drop)
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn shown(command: &Command) -> String {
    const LONG: usize = 160;
    let arguments = command.get_args().map(OsStr::to_string_lossy);
    let text = std::iter::once(name(command).into()).chain(arguments).collect::<Vec<_>>().join(" ");
    if text.chars().count() <= LONG { text } else { text.chars().take(LONG).chain("…".chars()).collect() }
}

/// The last lines of what a program said.
fn tail(bytes: &[u8]) -> String {
    const LINES: usize = 30;
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_says_which_package_has_it() {
        let error = command("no-such-program", "kmod").unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program` is needed and not installed");
        assert_eq!(error.hint().unwrap(), "as root: apt-get install kmod");
    }

    #[test]
    fn a_failure_carries_its_last_words() {
        let mut sh = command("sh", "dash").unwrap();
        let error = run(sh.args(["-c", "echo out; echo one two >&2; exit 3"])).unwrap_err();
        assert_eq!(error.stderr(), "one two");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
