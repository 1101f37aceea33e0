//! A loop device for the root image that lies in the initrd (linux/loop.h, `LOOP_CONFIGURE` since Linux 5.8).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

use super::devices::node;
use crate::sys::{self, LOOP_CONFIG};

/// `LO_FLAGS_READ_ONLY`. Without `LO_FLAGS_DIRECT_IO`: a file in memory has none.
const READ_ONLY: u32 = 1;
/// Sectors of 512 bytes: a filesystem may have blocks smaller than a page.
const SECTOR: u32 = 512;

/// Attaches a file, read-only, and says which device it is.
pub fn attach(image: &File) -> io::Result<PathBuf> {
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    let device = node(&format!("loop{}", sys::free_loop(&control)?));
    sys::configure_loop(File::open(&device)?, &config(image.as_raw_fd()))?;
    Ok(device)
}

/// `struct loop_config`: the file, the sector size, and of `struct loop_info64`, which follows, the flags at byte 52.
fn config(file: RawFd) -> [u8; LOOP_CONFIG] {
    let mut bytes = [0; LOOP_CONFIG];
    for (at, value) in [(0, file.cast_unsigned()), (4, SECTOR), (8 + 52, READ_ONLY)] {
        for (to, from) in bytes.iter_mut().skip(at).zip(value.to_ne_bytes()) {
            *to = from;
        }
    }
    bytes
}
