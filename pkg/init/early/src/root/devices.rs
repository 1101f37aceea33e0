//! The block devices, and the wait for the one that holds the root image.
//!
//! A root is known by its mark, so disks and partitions are all the same. What is there is read once; what comes later, because
//! its driver is slow or it was plugged in late, is heard of by uevent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bootwright_bundle::RootId;
use rustix::event::{PollFd, PollFlags};

use super::image::{Held, Image};
use crate::modules::Loader;
use crate::{Consoles, read_uevents};

/// What cannot hold a root: devices that hold nothing before somebody gives them something, and floppies, which take seconds
/// to say that they are empty.
const PASSED_OVER: [&str; 4] = ["loop", "ram", "zram", "fd"];

/// Every block device that was looked at, by name below `/dev`. Displayed as a list of what each holds.
#[derive(Debug, Default)]
pub struct Devices(BTreeMap<String, Held>);

impl Devices {
    /// Waits until one of them holds the image, and says which. What was seen until then is kept.
    pub fn wait_for(
        &mut self,
        id: RootId,
        limit: Duration,
        uevents: Option<&OwnedFd>,
        loader: &mut Loader,
        consoles: &mut Consoles,
    ) -> Option<(String, Image)> {
        let deadline = Instant::now() + limit;
        self.look_at_all();
        loop {
            let found: Vec<(&str, Image)> = self.holding(id).collect();
            if let [(name, image), others @ ..] = found.as_slice() {
                // The same name means the same bytes.
                if !others.is_empty() {
                    let others: Vec<&str> = others.iter().map(|(name, _)| *name).collect();
                    consoles.say(&format!("{name} is taken for root; {} holds it as well", others.join(", ")));
                }
                return Some(((*name).to_owned(), *image));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let left = rustix::time::Timespec::try_from(left).ok();
            let Some(uevents) = uevents else {
                // Nobody tells what happens: look again in the end.
                let _ = rustix::event::poll(&mut [], left.as_ref());
                self.look_at_all();
                continue;
            };
            let _ = rustix::event::poll(&mut [PollFd::new(uevents, PollFlags::IN)], left.as_ref());
            self.hear(uevents, loader, consoles);
        }
    }

    /// Deals with the events that wait: drivers for new devices, and what new block devices hold.
    fn hear(&mut self, uevents: &OwnedFd, loader: &mut Loader, consoles: &mut Consoles) {
        let mut aliases = BTreeSet::new();
        let mut changed = BTreeSet::new();
        let whole = read_uevents(uevents, |event| {
            if event.action == "add" {
                aliases.extend(event.modalias.map(str::to_owned));
            }
            if event.subsystem == Some("block") {
                changed.extend(event.device.map(str::to_owned));
            }
        });
        if whole {
            super::say(consoles, &loader.want(aliases));
            changed.iter().for_each(|name| self.look_at(name));
        } else {
            super::say(consoles, &loader.coldplug());
            self.look_at_all();
        }
    }

    fn look_at_all(&mut self) {
        self.0.clear();
        for entry in fs::read_dir("/sys/class/block").into_iter().flatten().flatten() {
            // sysfs writes the slash of `cciss/c0d0` as an exclamation mark.
            self.look_at(&entry.file_name().to_string_lossy().replace('!', "/"));
        }
    }

    fn look_at(&mut self, name: &str) {
        if !can_hold(name) {
            return;
        }
        match File::open(node(name)) {
            Ok(file) => self.0.insert(name.to_owned(), Held::of(&file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.0.remove(name),
            Err(error) => self.0.insert(name.to_owned(), Held::Unreadable(error)),
        };
    }

    /// Those that hold an image, by name.
    fn holding(&self, id: RootId) -> impl Iterator<Item = (&str, Image)> {
        self.0.iter().filter_map(move |(name, held)| match held {
            Held::Image(image) if image.mark.id == id => Some((name.as_str(), *image)),
            _ => None,
        })
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is no block device; is its driver in the initrd, or built into the kernel?");
        }
        for (i, (name, held)) in self.0.iter().enumerate() {
            write!(f, "{}{name} {held}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The node of a device.
pub fn node(name: &str) -> PathBuf {
    Path::new("/dev").join(name)
}

/// Whether a device is worth a look.
fn can_hold(name: &str) -> bool {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    !PASSED_OVER.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::super::image::tests::{held, image};
    use super::*;

    #[test]
    fn disks_and_partitions_are_looked_at() {
        for (name, expected) in [
            ("vda", true),
            ("vda1", true),
            ("nvme0n1p2", true),
            ("sr0", true),
            ("dm-0", true),
            ("cciss/c0d0", true),
            ("loop0", false),
            ("ram15", false),
            ("zram0", false),
            ("fd0", false),
        ] {
            assert_eq!(can_hold(name), expected, "{name}");
        }
    }

    #[test]
    fn devices_are_found_by_what_they_hold_and_in_the_order_of_names() {
        let [wanted, other] = [RootId([1; 16]), RootId([2; 16])];
        let mut devices = Devices::default();
        assert!(devices.to_string().starts_with("there is no block device"));
        for (name, held) in [
            ("vdc", held(&image(wanted))),
            ("vdb1", held(&image(wanted))),
            ("vdb", held(&[0; 8192])),
            ("vda", held(&image(other))),
            ("sr0", Held::Unreadable(std::io::Error::from_raw_os_error(libc::ENOMEDIUM))),
        ] {
            devices.0.insert(name.to_owned(), held);
        }
        assert_eq!(devices.holding(wanted).map(|(name, _)| name).collect::<Vec<_>>(), ["vdb1", "vdc"]);
        assert_eq!(devices.holding(RootId([3; 16])).count(), 0);
        assert_eq!(
            devices.to_string(),
            format!(
                "sr0 cannot be read (No medium found (os error 123)), vda holds the root image {other}, \
                 vdb holds no root image, vdb1 holds the root image {wanted}, vdc holds the root image {wanted}"
            )
        );
    }
}
