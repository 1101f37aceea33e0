//! The containers of the machine, as they lie under `/containers`.

use std::fs;
use std::path::{Path, PathBuf};

use bootwright_bundle::{CONTAINERS, OnFail, SUPERVISION_JSON, Supervision};

/// When a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One after the other, before the services.
    Onboot,
    /// All at once, until the machine ends.
    Service,
    /// One after the other, when the services have ended.
    Onshutdown,
}

impl Kind {
    /// Its directory below `/containers`, which is also its cgroup.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Onboot => "onboot",
            Self::Service => "services",
            Self::Onshutdown => "onshutdown",
        }
    }

    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Onboot => "onboot",
            Self::Service => "service",
            Self::Onshutdown => "onshutdown",
        }
    }
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// When it runs.
    pub kind: Kind,
    /// Its name, without the number of its place.
    pub name: String,
    /// Its directory's name.
    pub directory: String,
    /// How it is looked after.
    pub supervision: Supervision,
}

impl Unit {
    /// Its bundle.
    pub fn bundle(&self) -> PathBuf {
        Path::new(CONTAINERS).join(self.kind.directory()).join(&self.directory)
    }
}

/// All containers, in the order of their places. `onfail` overrides that of every onboot. The second list holds sentences
/// about what could not be read.
pub fn discover(onfail: Option<OnFail>) -> (Vec<Unit>, Vec<String>) {
    let mut units = Vec::new();
    let mut troubles = Vec::new();
    for kind in [Kind::Onboot, Kind::Service, Kind::Onshutdown] {
        let entries = fs::read_dir(Path::new(CONTAINERS).join(kind.directory())).into_iter().flatten().flatten();
        let names: Vec<String> =
            entries.filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok()).collect();
        for directory in in_order(names) {
            let name = if kind == Kind::Service { directory.as_str() } else { place(&directory).1 }.to_owned();
            let mut unit = Unit { kind, name, directory, supervision: Supervision::default() };
            match supervision(&unit.bundle()) {
                Ok(own) => unit.supervision = own,
                Err(trouble) => troubles.push(trouble),
            }
            if unit.supervision.version > Supervision::VERSION {
                troubles.push(format!("{} `{}` asks for more than this init can do", kind.word(), unit.name));
            }
            if kind == Kind::Onboot {
                unit.supervision.onfail = onfail.or(unit.supervision.onfail);
            }
            units.push(unit);
        }
    }
    (units, troubles)
}

fn supervision(bundle: &Path) -> Result<Supervision, String> {
    let path = bundle.join(SUPERVISION_JSON);
    let Ok(bytes) = fs::read(&path) else { return Ok(Supervision::default()) };
    serde_json::from_slice(&bytes).map_err(|error| format!("`{}` is not valid: {error}", path.display()))
}

/// Sorts by number, then by name: 1000 comes after 999.
fn in_order(mut directories: Vec<String>) -> Vec<String> {
    directories.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
    directories
}

/// The number and the name of `NNN-name`.
fn place(directory: &str) -> (u32, &str) {
    match directory.split_once('-') {
        Some((number, name)) if !name.is_empty() => number.parse().map_or((u32::MAX, directory), |n| (n, name)),
        _ => (u32::MAX, directory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbers() {
        let names = ["1000-z", "999-y", "001-b", "000-a", "loose", "7-"].map(str::to_owned).to_vec();
        assert_eq!(in_order(names), ["000-a", "001-b", "999-y", "1000-z", "7-", "loose"]);
        assert_eq!(place("003-dhcp-client"), (3, "dhcp-client"));
        assert_eq!(place("x-y").1, "x-y");
    }
}
