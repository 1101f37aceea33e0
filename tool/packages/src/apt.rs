//! The machine's own apt as a resolver and downloader: no root, nothing of the machine's state touched.
//!
//! apt runs on a private configuration: state and cache below our cache directory, an invented dpkg status, one
//! architecture. Sources, keys, proxies and pins are the machine's, so apt's own trust decides what is genuine, and what
//! it says a package's SHA-256 is, is checked again here. The package lists are the machine's where they are fresh, else
//! private ones.
//!
//! The invented status says that packages which only maintainer scripts and init scripts use are installed: scripts
//! never run here, and without them apt leaves out everything that only they need (perl, pam, selinux tools).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use bootwright_oci::{Digest, Hasher, Reporter};
use serde::{Deserialize, Serialize};

use crate::command::{CommandError, command, run};

/// Lists older than this are fetched anew, unless offline.
const FRESH: Duration = Duration::from_hours(24);

/// What only maintainer scripts, init scripts and the package system itself use.
const ASSUMED: &[&str] = &[
    "adduser",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "initramfs-tools",
    "kmod",
    "linux-base",
    "lsb-base",
    "sysvinit-utils",
    "ucf",
    "usr-is-merged",
];

/// A Debian package as apt would download it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DebianPackage {
    /// Name.
    pub name: String,
    /// Version, epoch included.
    pub version: String,
    /// Debian's architecture, or `all`.
    pub architecture: String,
    /// SHA-256 of the `.deb`, 64 hex digits.
    pub sha256: String,
}

/// apt could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// It is missing or failed.
    #[error("apt cannot resolve {}", names(.packages))]
    Resolve {
        /// What was asked for.
        packages: Vec<String>,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// The lists could not be fetched.
    #[error("apt cannot fetch the package lists for `{architecture}`")]
    Update {
        /// Debian's architecture.
        architecture: String,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// A package could not be fetched.
    #[error("apt cannot download {}", names(.packages))]
    Download {
        /// What.
        packages: Vec<String>,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// apt is not installed.
    #[error(transparent)]
    Missing(CommandError),
    /// Offline, and something is not there.
    #[error("{0} not here, and this is an offline build")]
    Offline(String),
    /// A line of apt's that has no SHA-256 or is of another form.
    #[error("apt says nothing that can be verified about a package: `{0}`")]
    Unverifiable(String),
    /// A download that is not what the lists say.
    #[error("`{name}` {version} has SHA-256 {found}, and the package lists say {wanted}")]
    Digest {
        /// Package.
        name: String,
        /// Version.
        version: String,
        /// Hash of what came.
        found: String,
        /// Hash that was to come.
        wanted: String,
    },
    /// A file of our cache.
    #[error("`{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl AptError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => {
                Some("`debian:` packages need a Debian machine's apt; `files:` and `cargo:` do not".to_owned())
            }
            Self::Download { .. } => {
                Some("the package lists may be out of date: run `apt-get update` as root and try again".to_owned())
            }
            Self::Offline(_) => Some("build once without `--offline`".to_owned()),
            Self::Resolve { source, .. } | Self::Update { source, .. } => source.hint(),
            _ => None,
        }
    }
}

fn names(packages: &[String]) -> String {
    packages.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// apt for one architecture.
pub(crate) struct Apt<'a> {
    /// Ours, below the user's cache directory.
    pub(crate) cache: PathBuf,
    /// Debian's name.
    pub(crate) architecture: String,
    pub(crate) offline: bool,
    pub(crate) reporter: &'a dyn Reporter,
}

impl Apt<'_> {
    /// Names to packages; with `depends` also everything they need. Sorted by name.
    ///
    /// apt is asked once per state of the package lists.
    pub(crate) fn resolve(&self, packages: &[String], depends: bool) -> Result<Vec<DebianPackage>, AptError> {
        let _lock = self.lock()?;
        let lists = self.lists()?;
        let question = serde_json::json!([ASSUMED, packages, depends, &self.architecture, self.state_of_apt(&lists)?]);
        let answers = self.directory("answers")?;
        let answer = answers.join(Digest::of(question.to_string().as_bytes()).hex());
        if let Some(known) = fs::read(&answer).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(known);
        }
        let mut apt = self.apt_get(&lists, packages)?;
        apt.arg("--print-uris").arg(if depends { "install" } else { "download" }).arg("--").args(packages);
        let output = run(&mut apt).map_err(|source| AptError::Resolve { packages: packages.to_vec(), source })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut found =
            text.lines().filter(|l| l.starts_with('\'')).map(parse_uri_line).collect::<Result<Vec<_>, _>>()?;
        found.sort();
        found.dedup();
        write_beside(&answer, serde_json::to_string(&found).unwrap_or_default().as_bytes())?;
        Ok(found)
    }

    /// Downloads what is not here yet and returns the files, in the order given, each checked against its SHA-256.
    pub(crate) fn fetch(&self, packages: &[DebianPackage]) -> Result<Vec<PathBuf>, AptError> {
        let debs = self.directory("debs")?;
        let place = |p: &DebianPackage| debs.join(format!("{}.deb", p.sha256));
        let missing: Vec<&DebianPackage> = packages.iter().filter(|p| check(p, &place(p)).is_err()).collect();
        if !missing.is_empty() {
            if self.offline {
                let first = missing[0];
                return Err(AptError::Offline(format!("`{}` {} is", first.name, first.version)));
            }
            for package in &missing {
                self.reporter.note(&format!("fetching {} {}", package.name, package.version));
            }
            let into = tempfile::Builder::new().prefix(".part-").tempdir_in(&debs).map_err(at(&debs))?;
            let wanted: Vec<String> = missing.iter().map(|p| format!("{}={}", p.name, p.version)).collect();
            let mut apt = {
                let _lock = self.lock()?;
                self.apt_get(&self.lists()?, &[])?
            };
            apt.current_dir(into.path()).arg("download").arg("--").args(&wanted);
            run(&mut apt).map_err(|source| AptError::Download { packages: wanted, source })?;
            for package in missing {
                let version = package.version.replace(':', "%3a");
                let file = into.path().join(format!("{}_{version}_{}.deb", package.name, package.architecture));
                check(package, &file)?;
                fs::rename(&file, place(package)).map_err(at(&file))?;
            }
        }
        Ok(packages.iter().map(place).collect())
    }

    fn directory(&self, name: &str) -> Result<PathBuf, AptError> {
        let path = self.cache.join(name);
        fs::create_dir_all(&path).map_err(at(&path))?;
        Ok(path)
    }

    /// One apt at a time in this cache: it writes its binary cache in place.
    fn lock(&self) -> Result<File, AptError> {
        let path = self.directory(&self.architecture)?.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        Ok(file)
    }

    /// A directory of package lists for our architecture.
    fn lists(&self) -> Result<PathBuf, AptError> {
        let own = self.directory(&self.architecture)?.join("lists");
        let machine = PathBuf::from("/var/lib/apt/lists");
        let mut there: Vec<(SystemTime, &PathBuf)> =
            [&machine, &own].into_iter().filter_map(|d| Some((self.fetched(d)?, d))).collect();
        there.sort();
        let stale = there.pop();
        if let Some((when, lists)) = stale
            && (self.offline || when.elapsed().unwrap_or_default() < FRESH)
        {
            return Ok(lists.clone());
        }
        if self.offline {
            return Err(AptError::Offline(format!("package lists for `{}` are", self.architecture)));
        }
        self.reporter.note(&format!("fetching Debian's package lists for {}", self.architecture));
        let partial = own.join("partial");
        fs::create_dir_all(&partial).map_err(at(&partial))?;
        let before = self.fetched(&own);
        let result = run(self.apt_get(&own, &[])?.args(["-o", "APT::Update::Error-Mode=any", "update"]));
        match (result, stale) {
            (Ok(_), _) => {
                // Lists that have not changed are not written again.
                File::open(&own).and_then(|d| d.set_modified(SystemTime::now())).map_err(at(&own))?;
                Ok(own)
            }
            (Err(_), _) if self.fetched(&own) > before => {
                self.reporter.warn("apt could not reach some of this machine's package sources");
                Ok(own)
            }
            (Err(_), Some((_, lists))) => {
                self.reporter.warn("apt cannot fetch newer package lists; the old ones are used");
                Ok(lists.clone())
            }
            (Err(source), None) => Err(AptError::Update { architecture: self.architecture.clone(), source }),
        }
    }

    /// When lists were fetched; none where there are none for our architecture.
    fn fetched(&self, lists: &Path) -> Option<SystemTime> {
        let ours = format!("_binary-{}_Packages", self.architecture);
        let has = |e: fs::DirEntry| e.file_name().to_string_lossy().contains(&ours);
        fs::read_dir(lists).ok()?.flatten().any(has).then(|| fs::metadata(lists).and_then(|m| m.modified()).ok())?
    }

    /// All that apt's answer depends on besides the question.
    fn state_of_apt(&self, lists: &Path) -> Result<serde_json::Value, AptError> {
        let mut seen = Vec::new();
        for directory in
            [lists, Path::new("/etc/apt"), Path::new("/etc/apt/sources.list.d"), Path::new("/etc/apt/preferences.d")]
        {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for entry in entries.flatten() {
                let meta = entry.metadata().map_err(at(&entry.path()))?;
                if meta.is_file() && entry.file_name() != "lock" {
                    let when = meta.modified().ok().and_then(|m| m.duration_since(SystemTime::UNIX_EPOCH).ok());
                    seen.push((entry.path(), meta.len(), when.unwrap_or_default().as_nanos().to_string()));
                }
            }
        }
        seen.sort();
        Ok(serde_json::json!(seen))
    }

    /// `apt-get` on a private configuration, where what is `wanted` is not assumed to be installed.
    fn apt_get(&self, lists: &Path, wanted: &[String]) -> Result<Command, AptError> {
        let mut apt = command("apt-get", "apt").map_err(AptError::Missing)?;
        let state = self.directory(&self.architecture)?;
        let archives = state.join("archives/partial");
        fs::create_dir_all(&archives).map_err(at(&archives))?;
        write_beside(&state.join("status"), self.status(wanted).as_bytes())?;
        write_beside(&state.join("apt.conf"), self.configuration(&state, lists).as_bytes())?;
        apt.arg("-c").arg(state.join("apt.conf")).args(["-q", "-q", "-y"]);
        Ok(apt)
    }

    fn status(&self, wanted: &[String]) -> String {
        let stanza = |name: &&str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nPriority: optional\nSection: misc\nMaintainer: none\n\
                 Architecture: {}\nMulti-Arch: foreign\nVersion: 9999\nDescription: assumed\n\n",
                self.architecture
            )
        };
        ASSUMED.iter().filter(|name| !wanted.iter().any(|w| w == *name)).map(stanza).collect()
    }

    /// Read after the machine's own configuration, so it has the last word.
    fn configuration(&self, state: &Path, lists: &Path) -> String {
        let Self { architecture, .. } = self;
        let (state, lists) = (state.display(), lists.display());
        format!(
            "#clear APT::Architectures;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             #clear Acquire::IndexTargets::deb::DEP-11;\n\
             #clear Acquire::IndexTargets::deb::Contents-deb;\n\
             APT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Install-Recommends \"0\";\n\
             APT::Install-Suggests \"0\";\n\
             APT::Sandbox::User \"root\";\n\
             Acquire::ForceHash \"SHA256\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Debug::NoLocking \"1\";\n\
             Dir::State \"{state}\";\n\
             Dir::State::lists \"{lists}\";\n\
             Dir::State::status \"{state}/status\";\n\
             Dir::State::extended_states \"{state}/extended_states\";\n\
             Dir::Cache \"{state}\";\n\
             Dir::Cache::archives \"{state}/archives\";\n\
             Dir::Cache::pkgcache \"pkgcache.bin\";\n\
             Dir::Cache::srcpkgcache \"srcpkgcache.bin\";\n"
        )
    }
}

/// Reads a line of `--print-uris`: `'URI' name_version_architecture.deb size SHA256:hex`.
fn parse_uri_line(line: &str) -> Result<DebianPackage, AptError> {
    let parse = || {
        let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split(' ');
        let mut file = words.next()?.strip_suffix(".deb")?.splitn(3, '_');
        let name = file.next()?.to_owned();
        let version = file.next()?.replace("%3a", ":");
        let architecture = file.next()?.to_owned();
        let sha256 = words.nth(1)?.strip_prefix("SHA256:")?.to_owned();
        let hex = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex.then_some(DebianPackage { name, version, architecture, sha256 })
    };
    parse().ok_or_else(|| AptError::Unverifiable(line.to_owned()))
}

fn check(package: &DebianPackage, path: &Path) -> Result<(), AptError> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut hasher = Hasher::new(io::sink());
    io::copy(&mut file, &mut hasher).map_err(at(path))?;
    let found = hasher.finish().1.hex();
    if found == package.sha256 {
        return Ok(());
    }
    Err(AptError::Digest {
        name: package.name.clone(),
        version: package.version.clone(),
        found,
        wanted: package.sha256.clone(),
    })
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<(), AptError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(directory).map_err(at(directory))?;
    fs::write(file.path(), bytes).map_err(at(path))?;
    file.persist(path).map_err(|e| at(path)(e.error))?;
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> AptError + '_ {
    |source| AptError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_apt_become_packages_only_when_they_can_be_verified() {
        let hash = "3d3fdbe91d4660c873e14b092c213fe81c1da6362daa236eb25d0171eb108744";
        let uri = "'http://deb.debian.org/x/busybox-static_1.35.0-4%2bdeb12u1%2bb1_amd64.deb'";
        let good = format!("{uri} busybox-static_1%3a1.35.0-4+deb12u1+b1_amd64.deb 928188 SHA256:{hash}");
        assert_eq!(
            parse_uri_line(&good).unwrap(),
            DebianPackage {
                name: "busybox-static".to_owned(),
                version: "1:1.35.0-4+deb12u1+b1".to_owned(),
                architecture: "amd64".to_owned(),
                sha256: hash.to_owned(),
            }
        );
        for bad in [
            format!("{uri} a_1_amd64.deb 1 MD5Sum:8d98f0c882f269aaee8437bcfe89346e"),
            format!("{uri} a_1_amd64.deb 1 "),
            format!("{uri} a_1_amd64.deb 1 SHA256:{}", &hash[1..]),
            format!("{uri} a-1.deb 1 SHA256:{hash}"),
            "'".to_owned(),
            String::new(),
        ] {
            assert!(matches!(parse_uri_line(&bad), Err(AptError::Unverifiable(line)) if line == bad), "{bad}");
        }
    }
}
