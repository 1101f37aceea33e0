//! KVM or TCG.
//!
//! A `/dev/kvm` that opens is no proof: under some nested hypervisors a boot sector runs and a kernel hangs or ends in
//! `internal-error`. So KVM is tried with the machine's own kernel, and what came of it is remembered for as long as the
//! host stays up (by its boot id), because only then can it change.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Error, ParseError};

/// A way in which QEMU executes the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The CPU's virtualisation.
    Kvm,
    /// Emulation.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// What `--accel` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccelChoice {
    /// KVM where it works, else TCG.
    #[default]
    Auto,
    /// These, in order; no verdict is asked.
    List(Vec<Accelerator>),
}

impl FromStr for AccelChoice {
    type Err = ParseError;

    /// `auto`, or names with `:` (as LinuxKit writes it) or `,` between them.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let mut list = Vec::new();
        for name in text.split([':', ',']) {
            let accelerator = match name {
                "kvm" => Accelerator::Kvm,
                "tcg" => Accelerator::Tcg,
                _ => {
                    let problem = format!("`{name}` is none of `auto`, `kvm`, `tcg`");
                    return Err(ParseError::new(text, "accelerator", problem));
                }
            };
            if !list.contains(&accelerator) {
                list.push(accelerator);
            }
        }
        Ok(Self::List(list))
    }
}

/// What a boot under KVM showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A kernel spoke.
    Works,
    /// A kernel did not run, and why.
    Broken(String),
}

/// The remembered verdict.
#[derive(Clone, Debug)]
pub struct Verdicts {
    path: PathBuf,
    boot_id: String,
}

impl Verdicts {
    /// Those of this boot of the host, kept below `cache`.
    pub fn of_this_boot(cache: &Path) -> Result<Self, Error> {
        let source = "/proc/sys/kernel/random/boot_id";
        let boot_id = fs::read_to_string(source).map_err(Error::file("read", source))?;
        Ok(Self { path: cache.join("kvm"), boot_id: boot_id.trim().to_owned() })
    }

    /// What was found since the host booted.
    pub fn read(&self) -> Option<Verdict> {
        let text = fs::read_to_string(&self.path).ok()?;
        match text.trim_end().strip_prefix(&self.boot_id)?.strip_prefix(' ')? {
            "works" => Some(Verdict::Works),
            other => other.strip_prefix("broken ").map(|reason| Verdict::Broken(reason.to_owned())),
        }
    }

    /// Remembers.
    pub fn write(&self, verdict: &Verdict) -> Result<(), Error> {
        let text = match verdict {
            Verdict::Works => format!("{} works\n", self.boot_id),
            Verdict::Broken(reason) => format!("{} broken {}\n", self.boot_id, reason.replace('\n', " ")),
        };
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let write = || {
            fs::create_dir_all(dir)?;
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(text.as_bytes())?;
            file.persist(&self.path).map_err(|e| e.error)
        };
        write().map(drop).map_err(Error::file("write", &self.path))
    }
}

/// Which accelerators to try, in order, and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) order: Vec<Accelerator>,
    /// Whether it is still to be found out if KVM works: silence then counts as failure.
    pub(crate) probe: bool,
    pub(crate) notice: Option<String>,
}

/// Decides from the choice, whether the guest's architecture is the host's, whether `/dev/kvm` opens, and the verdict.
pub(crate) fn plan(choice: &AccelChoice, native: bool, kvm: Result<(), io::Error>, verdict: Option<Verdict>) -> Plan {
    let only_tcg = |notice: Option<String>| Plan { order: vec![Accelerator::Tcg], probe: false, notice };
    match choice {
        AccelChoice::List(list) => Plan { order: list.clone(), probe: list.len() > 1, notice: None },
        AccelChoice::Auto if !native => only_tcg(None),
        AccelChoice::Auto => match (kvm, verdict) {
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => {
                only_tcg(Some("this host has no KVM, so the machine is emulated, which is slower".into()))
            }
            (Err(e), _) if e.kind() == io::ErrorKind::PermissionDenied => only_tcg(Some(
                "no permission for /dev/kvm, so the machine is emulated, which is slower; \
                 membership in the group `kvm` gives it"
                    .into(),
            )),
            (Err(e), _) => only_tcg(Some(format!("/dev/kvm does not open ({e}), so the machine is emulated"))),
            (Ok(()), Some(Verdict::Broken(reason))) => only_tcg(Some(format!(
                "KVM did not run a kernel on this host ({reason}), so the machine is emulated; \
                 `--accel kvm` tries it again"
            ))),
            (Ok(()), verdict) => {
                Plan { order: vec![Accelerator::Kvm, Accelerator::Tcg], probe: verdict.is_none(), notice: None }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        use Accelerator::{Kvm, Tcg};
        for (text, choice) in [
            ("auto", AccelChoice::Auto),
            ("kvm", AccelChoice::List(vec![Kvm])),
            ("kvm:tcg", AccelChoice::List(vec![Kvm, Tcg])),
            ("tcg,kvm,tcg", AccelChoice::List(vec![Tcg, Kvm])),
        ] {
            assert_eq!(text.parse(), Ok(choice), "{text}");
        }
        for text in ["", "hvf", "kvm:", "auto:kvm"] {
            text.parse::<AccelChoice>().unwrap_err();
        }
    }

    #[test]
    fn the_plan_follows_from_what_is_known() {
        use Accelerator::{Kvm, Tcg};
        let auto = AccelChoice::Auto;
        let broken = || Some(Verdict::Broken("silent".into()));
        let denied = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let absent = || Err(io::Error::from(io::ErrorKind::NotFound));
        for (choice, native, kvm, verdict, order, probe, said) in [
            (&auto, true, Ok(()), None, vec![Kvm, Tcg], true, None),
            (&auto, true, Ok(()), Some(Verdict::Works), vec![Kvm, Tcg], false, None),
            (&auto, true, Ok(()), broken(), vec![Tcg], false, Some("silent")),
            (&auto, false, Ok(()), None, vec![Tcg], false, None),
            (&auto, true, absent(), None, vec![Tcg], false, Some("no KVM")),
            (&auto, true, denied(), Some(Verdict::Works), vec![Tcg], false, Some("group `kvm`")),
            (&AccelChoice::List(vec![Kvm]), true, Ok(()), broken(), vec![Kvm], false, None),
            (&AccelChoice::List(vec![Kvm, Tcg]), true, Ok(()), broken(), vec![Kvm, Tcg], true, None),
        ] {
            let plan = plan(choice, native, kvm, verdict);
            assert_eq!((&plan.order, plan.probe), (&order, probe), "{plan:?}");
            assert_eq!(plan.notice.is_some(), said.is_some(), "{plan:?}");
            assert!(plan.notice.unwrap_or_default().contains(said.unwrap_or_default()));
        }
    }

    #[test]
    fn a_verdict_holds_until_the_next_boot() {
        let dir = tempfile::tempdir().unwrap();
        let of = |boot_id: &str| Verdicts { path: dir.path().join("cache/kvm"), boot_id: boot_id.into() };
        assert_eq!(of("one").read(), None);
        of("one").write(&Verdict::Broken("no\nword".into())).unwrap();
        assert_eq!(of("one").read(), Some(Verdict::Broken("no word".into())));
        assert_eq!(of("two").read(), None);
        of("two").write(&Verdict::Works).unwrap();
        assert_eq!(of("two").read(), Some(Verdict::Works));
        assert_eq!(of("one").read(), None);
        assert!(Verdicts::of_this_boot(dir.path()).unwrap().boot_id.len() > 30);
    }
}
