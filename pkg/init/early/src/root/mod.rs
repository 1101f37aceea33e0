//! The way to a root image: modules, the image, dm-verity, the mount, the root's own init (`kernel-boot.md`, sections 4 and 10).
//!
//! The image lies in the initrd as one file, or on the block device whose mark has the name that the kernel's command line asks
//! for. With a root hash nothing is mounted but what dm-verity has vouched for: what was read to find the image is read again
//! through it, and so are mount and init, whose failure is dm-verity's when it has refused a block.

mod devices;
mod dm;
mod error;
mod image;
mod loopback;
mod switch;
mod verity;

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bootwright_bundle::{ROOT_IMAGE, RootId};
use rustix::mount::MountFlags;

use crate::modules::{Loader, Report, be_modprobe};
use crate::{Cmdline, Consoles, uevents};

use devices::{Devices, node};
use error::RootError;
use image::{Held, Image};
use verity::{RootHash, Verity};

/// Where the root is mounted before it becomes `/`.
const MOUNT_POINT: &str = "/usr/lib/bootwright/root";
/// What is executed in the root.
const INIT: &str = "/init";

/// A root image on a block device.
struct Found {
    device: PathBuf,
    /// Where people know it to be.
    place: String,
    image: Image,
}

/// Finds and mounts the root and becomes its init. Returns when that fails, with the reason.
pub fn enter(cmdline: &Cmdline, consoles: &mut Consoles) -> Result<Infallible, RootError> {
    let named = |text: &String| text.parse().map_err(|_| RootError::Name(text.clone()));
    let id: Option<RootId> = cmdline.root.as_ref().map(named).transpose()?;
    let hashed = |text: &String| RootHash::parse(text).ok_or_else(|| RootError::Hash(text.clone()));
    let hash = cmdline.verity.as_ref().map(hashed).transpose()?;

    let uevents = uevents().map_err(|error| consoles.say(&format!("receiving device events: {error}"))).ok();
    if let Some(trouble) = be_modprobe() {
        consoles.say(&trouble);
    }
    let mut loader = Loader::new(cmdline);

    let Found { device, place, image } = match File::open(ROOT_IMAGE) {
        // Such an initrd has no module for a device.
        Ok(file) => in_initrd(&file, id, &mut loader, consoles)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            say(consoles, &loader.coldplug());
            for console in &cmdline.consoles {
                consoles.add(console);
            }
            let id = id.ok_or(RootError::NotNamed)?;
            let (wait, mut devices) = (cmdline.root_wait, Devices::default());
            match devices.wait_for(id, wait, uevents.as_ref(), &mut loader, consoles) {
                Some((name, image)) => Found { device: node(&name), place: format!("/dev/{name}"), image },
                None => return Err(RootError::NotFound { id, wait, devices }),
            }
        }
        Err(error) => return Err(RootError::NotAnImage(Held::Unreadable(error))),
    };
    say(consoles, &loader.want_one(&format!("fs-{}", image.filesystem.name())));
    let Some(hash) = hash else { return become_init(&device, &place, &image, None, consoles) };
    for module in ["dm_verity", "crypto-sha256"] {
        say(consoles, &loader.want_one(module));
    }
    let verity = Verity::set_up(&device, &place, &image, hash, cmdline.corruption)?;
    let failed = become_init(&verity.device(), &place, &image, Some(&verity), consoles);
    failed.map_err(|error| if verity.has_refused() { verity.refused() } else { error })
}

/// The image that is a file of the initrd, on a loop device.
fn in_initrd(
    file: &File,
    wanted: Option<RootId>,
    loader: &mut Loader,
    consoles: &mut Consoles,
) -> Result<Found, RootError> {
    let image = match Held::of(file) {
        Held::Image(image) => image,
        other => return Err(RootError::NotAnImage(other)),
    };
    let found = image.mark.id;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        return Err(RootError::Another { found, wanted });
    }
    say(consoles, &loader.want_one("loop"));
    let device = loopback::attach(file).map_err(|error| RootError::Loop { error })?;
    Ok(Found { device, place: ROOT_IMAGE.to_owned(), image })
}

/// Mounts what is on a device, moves there and executes its init.
fn become_init(
    device: &Path,
    place: &str,
    image: &Image,
    verity: Option<&Verity>,
    consoles: &mut Consoles,
) -> Result<Infallible, RootError> {
    let step = |what| move |error| RootError::Step { what, error };
    if let Some(verity) = verity {
        let verified = File::open(device).map_err(step("opening the device of dm-verity"))?;
        // What told where the hash tree lies was not trusted then.
        match Held::of(&verified) {
            Held::Image(verified) if verified == *image => {}
            Held::Unreadable(error) => return Err(step("reading through dm-verity")(error)),
            _ => return Err(verity.refused()),
        }
    }
    let (filesystem, root) = (image.filesystem, Path::new(MOUNT_POINT));
    fs::create_dir_all(root)
        .and_then(|()| Ok(rustix::mount::mount(device, root, filesystem.name(), MountFlags::RDONLY, c"")?))
        .map_err(|error| RootError::Mount { place: place.to_owned(), filesystem, error })?;
    switch::into_root(root, Path::new(ROOT_IMAGE))?;
    let mut init = match File::open(INIT) {
        Ok(init) => init,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RootError::NoInit { place: place.to_owned() });
        }
        Err(error) => return Err(step("opening /init of the root")(error)),
    };
    if verity.is_some() {
        // A page of it that is refused while it runs would be its death.
        switch::read_whole(&mut init).map_err(step("reading /init of the root"))?;
    }
    drop(init);
    consoles.drain(std::time::Duration::from_secs(1));
    Err(step("executing /init of the root")(switch::execute(Path::new(INIT))))
}

/// Says what went wrong with modules. What the initrd leaves out the root may have, so that is not said.
fn say(consoles: &mut Consoles, report: &Report) {
    for trouble in &report.troubles {
        consoles.say(trouble);
    }
}
