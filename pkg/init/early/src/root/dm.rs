//! Device-mapper, as far as one read-only device with one target takes it (linux/dm-ioctl.h).
//!
//! A message is a `struct dm_ioctl` of 312 bytes, a `struct dm_target_spec` of 40 and the target's parameters, ended by a zero.
//! A device is made, given its table and resumed; then `/dev/dm-N` is there.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::devices::node;
use crate::sys::{self, DM_MESSAGE};

const DM_DEV_CREATE: u8 = 3;
const DM_DEV_SUSPEND: u8 = 6;
const DM_TABLE_LOAD: u8 = 9;
const DM_TABLE_STATUS: u8 = 12;
const DM_READONLY_FLAG: u32 = 1;

/// Version of the interface that we speak.
const VERSION: [u32; 3] = [4, 0, 0];
/// Fields of `struct dm_ioctl`.
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const FLAGS: usize = 28;
const DEV: usize = 40;
const NAME: usize = 48;
/// Bytes of `struct dm_ioctl`, and where its target follows.
const HEADER: usize = 312;
/// Fields of `struct dm_target_spec`: the first sector is 0.
const LENGTH: usize = HEADER + 8;
const TYPE: usize = HEADER + 24;
/// Where the target's parameters lie.
const PARAMETERS: usize = HEADER + 40;

/// A mapped device.
#[derive(Debug)]
pub struct Mapped {
    control: File,
    name: &'static str,
    /// Its node.
    pub device: PathBuf,
}

impl Mapped {
    /// Makes a read-only device of one target. The error says which step failed.
    pub fn make(
        name: &'static str,
        target: &str,
        sectors: u64,
        parameters: &str,
    ) -> Result<Self, (&'static str, io::Error)> {
        let control = File::options().read(true).write(true).open("/dev/mapper/control");
        let control = control.map_err(|error| ("opening /dev/mapper/control", error))?;
        let mut made = message(name);
        sys::device_mapper(&control, DM_DEV_CREATE, &mut made).map_err(|error| ("making the device", error))?;
        let mut table = with_target(message(name), target, sectors, parameters);
        sys::device_mapper(&control, DM_TABLE_LOAD, &mut table).map_err(|error| ("loading the table", error))?;
        sys::device_mapper(&control, DM_DEV_SUSPEND, &mut message(name)).map_err(|error| ("resuming", error))?;
        let minor = rustix::fs::minor(number(&made, DEV));
        Ok(Self { control, name, device: node(&format!("dm-{minor}")) })
    }

    /// What the target says of itself.
    pub fn status(&self) -> io::Result<String> {
        let mut answer = message(self.name);
        sys::device_mapper(&self.control, DM_TABLE_STATUS, &mut answer)?;
        let text = answer.iter().skip(PARAMETERS).take_while(|b| **b != 0).copied().collect();
        String::from_utf8(text).map_err(io::Error::other)
    }
}

/// A message about a device, without a target.
fn message(name: &str) -> [u8; DM_MESSAGE] {
    let mut message = [0; DM_MESSAGE];
    for (i, number) in VERSION.into_iter().enumerate() {
        put(&mut message, 4 * i, &number.to_ne_bytes());
    }
    put(&mut message, DATA_START, &(HEADER as u32).to_ne_bytes());
    put(&mut message, FLAGS, &DM_READONLY_FLAG.to_ne_bytes());
    put(&mut message, NAME, name.as_bytes());
    message
}

fn with_target(mut message: [u8; DM_MESSAGE], target: &str, sectors: u64, parameters: &str) -> [u8; DM_MESSAGE] {
    put(&mut message, TARGET_COUNT, &1_u32.to_ne_bytes());
    put(&mut message, LENGTH, &sectors.to_ne_bytes());
    put(&mut message, TYPE, target.as_bytes());
    put(&mut message, PARAMETERS, parameters.as_bytes());
    message
}

fn put(message: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in message.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn number(message: &[u8], at: usize) -> u64 {
    message.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets by the compiler's rules for the structs of linux/dm-ioctl.h.
    #[test]
    fn a_message_is_laid_out_as_the_kernel_has_it() {
        #[repr(C)]
        struct Ioctl {
            version: [u32; 3],
            data_size: u32,
            data_start: u32,
            target_count: u32,
            open_count: i32,
            flags: u32,
            event_nr: u32,
            padding: u32,
            dev: u64,
            name: [u8; 128],
            uuid: [u8; 129],
            data: [u8; 7],
        }
        #[repr(C)]
        struct Target {
            sector_start: u64,
            length: u64,
            status: i32,
            next: u32,
            target_type: [u8; 16],
        }
        use std::mem::offset_of;
        assert_eq!((size_of::<Ioctl>(), size_of::<Target>()), (HEADER, PARAMETERS - HEADER));
        assert_eq!(offset_of!(Ioctl, data_size), 12, "sys writes it");
        for (ours, theirs) in [
            (DATA_START, offset_of!(Ioctl, data_start)),
            (TARGET_COUNT, offset_of!(Ioctl, target_count)),
            (FLAGS, offset_of!(Ioctl, flags)),
            (DEV, offset_of!(Ioctl, dev)),
            (NAME, offset_of!(Ioctl, name)),
            (LENGTH, HEADER + offset_of!(Target, length)),
            (TYPE, HEADER + offset_of!(Target, target_type)),
        ] {
            assert_eq!(ours, theirs);
        }
        let message = with_target(message("root"), "verity", 80, "1 7:0");
        assert_eq!(&message[NAME..NAME + 5], b"root\0");
        assert_eq!((number(&message, HEADER), number(&message, LENGTH)), (0, 80));
        assert_eq!(&message[TYPE..TYPE + 7], b"verity\0");
        assert_eq!(&message[PARAMETERS..PARAMETERS + 6], b"1 7:0\0");
    }
}
