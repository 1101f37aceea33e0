//! What a run needs from the host before QEMU starts: disks that exist, a MAC address, firmware, the control socket.
//!
//! It lies in the state directory, if there is one, and else in a temporary one that goes with the [`Session`], as soon as
//! QEMU has opened what is in it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::disk::PreparedDisk;
use crate::medium::{self, Medium};
use crate::{Boot, Bus, DiskFormat, Error, MachineConfig, Network};

/// Where Debian's package `ovmf` puts its firmware, and the file with the empty variable store.
const OVMF: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// The host's side of a machine's configuration.
#[derive(Debug)]
pub struct Session {
    /// QEMU connects here.
    pub qmp: PathBuf,
    /// What firmware boots, or the root beside a kernel: the first disk.
    pub boot: Option<BootMedium>,
    /// Further disks, in order.
    pub disks: Vec<PreparedDisk>,
    /// MAC address; none: QEMU's.
    pub mac: Option<String>,
    /// QEMU connects here for the control channel.
    pub control: Option<PathBuf>,
    /// Flash images and whether each is read-only.
    pub firmware: Vec<(PathBuf, bool)>,
    /// Keeps the temporary directory.
    _scratch: Option<TempDir>,
}

/// A disk or CD that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootMedium {
    /// Its file.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// What it is attached to.
    pub bus: Bus,
    /// Whether it is a CD.
    pub cd: bool,
}

impl BootMedium {
    fn of(config: &MachineConfig, state: &Path) -> Result<Option<Self>, Error> {
        let bus = config.boot_bus.unwrap_or_default();
        let disk = |path: &Path, format| Some(Self { path: path.to_owned(), format, bus, cd: false });
        Ok(match &config.artefact.boot {
            Boot::Kernel { root, .. } => root.as_deref().and_then(|path| disk(path, DiskFormat::Raw)),
            Boot::Uki(_) => None,
            Boot::Disk { path, format, .. } => disk(path, *format),
            // A stick, or a disk that it was copied to, where a bus is named.
            Boot::Iso { path, .. } => {
                let cd = config.boot_bus.is_none();
                Some(Self { path: path.clone(), format: DiskFormat::Raw, bus, cd })
            }
            Boot::Archive(archive) => {
                let path = medium::unpack(archive, state).map_err(Error::file("unpack", archive))?;
                let format = match Medium::of(&path).map_err(Error::file("read", &path))? {
                    Some(Medium::Disk { format, .. }) => format,
                    _ => return Err(Error::Conflict("the archive's disk is none that boots")),
                };
                disk(&path, format)
            }
        })
    }
}

impl Session {
    /// Makes what is missing. `qmp` is where the control socket listens.
    pub(crate) fn prepare(config: &MachineConfig, qmp: PathBuf) -> Result<Self, Error> {
        let mut scratch = None;
        let state = match &config.state {
            Some(state) => {
                fs::create_dir_all(state).map_err(Error::file("make", state))?;
                state.clone()
            }
            None => {
                let dir = TempDir::with_prefix("bootwright-").map_err(Error::system("make a temporary directory"))?;
                scratch.insert(dir).path().to_owned()
            }
        };
        let boot = BootMedium::of(config, &state)?;
        let disks = config.disks.iter().enumerate().map(|(index, disk)| disk.prepare(index, &state));
        let disks = disks.collect::<Result<_, _>>()?;
        let bridged = matches!(config.network, Network::Tap(_) | Network::Bridge(_));
        let mac = match &config.state {
            Some(state) => Some(kept_mac(&state.join("mac-addr"))?),
            None if bridged => Some(random_mac()?),
            None => None,
        };
        let firmware = firmware(config, &state)?;
        let control = config.control.then(|| qmp.with_file_name("control"));
        Ok(Self { qmp, control, boot, disks, mac, firmware, _scratch: scratch })
    }

    /// A session of given parts, for looking at [`crate::argv`] without a host.
    pub fn of(qmp: PathBuf, disks: Vec<PreparedDisk>, mac: Option<String>, firmware: Vec<(PathBuf, bool)>) -> Self {
        Self { qmp, control: None, boot: None, disks, mac, firmware, _scratch: None }
    }
}

/// Firmware writes its variables: a copy per run keeps one machine's boot order from another's, and shared files whole.
fn firmware(config: &MachineConfig, state: &Path) -> Result<Vec<(PathBuf, bool)>, Error> {
    let copy = |from: &Path, name: &str| -> Result<_, Error> {
        let to = state.join(name);
        if !to.exists() {
            fs::copy(from, &to).map_err(Error::file("copy", from))?;
        }
        Ok((to, false))
    };
    match &config.firmware {
        Some(path) => Ok(vec![copy(path, "firmware.fd")?]),
        None if config.uefi || config.artefact.needs_uefi() => {
            let found = OVMF.into_iter().find(|(code, vars)| Path::new(code).exists() && Path::new(vars).exists());
            let (code, vars) = found.ok_or(Error::Conflict(
                "UEFI needs a firmware: install Debian's package `ovmf`, or name one with `--fw FILE`",
            ))?;
            Ok(vec![(code.into(), true), copy(Path::new(vars), "uefi-vars.fd")?])
        }
        None => Ok(Vec::new()),
    }
}

fn kept_mac(path: &Path) -> Result<String, Error> {
    match fs::read_to_string(path) {
        Ok(mac) if is_mac(mac.trim()) => Ok(mac.trim().to_owned()),
        Ok(_) => Err(Error::file("use", path)(io::Error::new(io::ErrorKind::InvalidData, "it is no MAC address"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mac = random_mac()?;
            fs::write(path, &mac).map_err(Error::file("write", path))?;
            Ok(mac)
        }
        Err(e) => Err(Error::file("read", path)(e)),
    }
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// In QEMU's own range, so that it is recognised for what it is.
fn random_mac() -> Result<String, Error> {
    let source = "/dev/urandom";
    let mut bytes = [0; 3];
    File::open(source).and_then(|mut f| f.read_exact(&mut bytes)).map_err(Error::file("read", source))?;
    let [a, b, c] = bytes;
    Ok(format!("52:54:00:{a:02x}:{b:02x}:{c:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Artefact;

    #[test]
    fn a_state_directory_keeps_the_mac_address_and_the_disks() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("web-state");
        let mut config = MachineConfig::new(Artefact::default());
        config.state = Some(state.clone());
        config.disks = vec!["size=1M".parse().unwrap()];
        let first = Session::prepare(&config, "q".into()).unwrap();
        assert!(is_mac(first.mac.as_deref().unwrap()));
        fs::write(&first.disks[0].path, "kept").unwrap();
        let second = Session::prepare(&config, "q".into()).unwrap();
        assert_eq!((second.mac, &second.disks), (first.mac, &first.disks));
        assert_eq!(fs::read(state.join("disk0.img")).unwrap(), b"kept");

        fs::write(state.join("mac-addr"), "nonsense").unwrap();
        Session::prepare(&config, "q".into()).unwrap_err();
    }

    #[test]
    fn without_a_state_directory_nothing_stays() {
        let mut config = MachineConfig::new(Artefact::default());
        config.disks = vec!["size=1M".parse().unwrap()];
        config.network = Network::Bridge("br0".into());
        let session = Session::prepare(&config, "q".into()).unwrap();
        let disk = session.disks[0].path.clone();
        assert!(disk.exists() && session.mac.is_some());
        drop(session);
        assert!(!disk.exists() && !disk.parent().unwrap().exists());
    }
}
