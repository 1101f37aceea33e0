//! What devices want: the modaliases in `/sys`, which drivers are found by.
//!
//! Drivers are for the devices of buses. Most of what else `/sys` lists has no modalias, and to look for one means that the
//! kernel makes inodes all the way to it. So classes are left out but for the two that have them nevertheless, and so are the
//! buses on which the kernel keeps its own books, one entry for each block of memory or processor.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::os::unix::fs::DirEntryExt;
use std::path::Path;

/// Buses without drivers.
const BOOKS: [&str; 6] = ["clockevents", "clocksource", "event_source", "machinecheck", "memory", "workqueue"];
/// Classes with modaliases: input's are for handlers such as `evdev`, that of dmi is the machine itself.
const CLASSES: [&str; 2] = ["dmi", "input"];

/// The modaliases of all devices but those known, who become more. They are known by the inode numbers of their links in
/// `sys`, of which none is given twice.
pub fn aliases(sys: &Path, known: &mut BTreeSet<u64>) -> BTreeSet<String> {
    let buses = entries(&sys.join("bus")).filter(|bus| !BOOKS.iter().any(|book| bus.file_name() == *book));
    let buses = buses.map(|bus| bus.path().join("devices"));
    let classes = CLASSES.map(|class| sys.join("class").join(class));
    buses
        .chain(classes)
        .flat_map(|directory| entries(&directory))
        .filter(|device| known.insert(device.ino()))
        .filter_map(|device| fs::read_to_string(device.path().join("modalias")).ok())
        .map(|alias| alias.trim_end().to_owned())
        .filter(|alias| !alias.is_empty())
        .collect()
}

fn entries(directory: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Adds a device, linked as the kernel does it.
    fn add(sys: &Path, place: &str, alias: Option<&str>) {
        let link = sys.join(place);
        let device = sys.join("devices").join(place);
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&device, link).unwrap();
        if let Some(alias) = alias {
            fs::write(device.join("modalias"), alias).unwrap();
        }
    }

    #[test]
    fn devices_of_buses_and_of_two_classes_are_asked_once() {
        let sys = tempfile::tempdir().unwrap();
        let (sys, mut known) = (sys.path(), BTreeSet::new());
        let mut asked = || aliases(sys, &mut known).into_iter().collect::<Vec<_>>();
        assert!(asked().is_empty());
        for (place, alias) in [
            ("bus/pci/devices/0000:00:01.0", Some("pci:v00001AF4d00001005\n")),
            ("bus/pci/devices/0000:00:02.0", Some("pci:v00001AF4d00001005\n")),
            ("bus/pnp/devices/00:00", None),
            ("bus/platform/devices/alarmtimer", Some("\n")),
            ("bus/memory/devices/memory0", Some("never asked")),
            ("class/dmi/id", Some("dmi:bvnSeaBIOS:\n")),
            ("class/input/event0", None),
            ("class/tty/tty0", Some("never asked")),
        ] {
            add(sys, place, alias);
        }
        assert_eq!(asked(), ["dmi:bvnSeaBIOS:", "pci:v00001AF4d00001005"]);
        add(sys, "bus/virtio/devices/virtio0", Some("virtio:d00000004v00001AF4\n"));
        add(sys, "class/input/input3", Some("input:b0000v0000\n"));
        assert_eq!(asked(), ["input:b0000v0000", "virtio:d00000004v00001AF4"]);
        assert!(asked().is_empty());
    }
}
