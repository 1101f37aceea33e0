//! The root as a squashfs 4.0 that we write ourselves, because composition is the point: whatever was packed before is laid into
//! the image as it is, and only the tables are new.
//!
//! The data area of a squashfs is a run of independently compressed blocks. A *segment* is such a run, kept in the cache: files
//! of one layer that survive flattening, large ones as blocks of their own, small ones packed together in fragment blocks. An
//! image is the segments end to end and fresh tables. What makes a segment worth keeping:
//!
//! - It holds exactly the files that the image needs of it: no whited-out content, no dead bytes, nothing to drop or repack. A
//!   file that an earlier segment has (by digest, across all components) is not in a later one.
//! - Its key is the list of its files' digests and sizes, the block size, the compression with level and library, and the
//!   writer's version. Neither paths, metadata nor the layer's own digest are in it: a layer that was built again with the same
//!   files costs nothing.
//! - A large layer is cut into several, of about 8 MiB, at files that their own digests choose. So a changed file, or one that
//!   an earlier layer begins or ceases to store, repacks its surroundings and not the layer. And the bytes of an image depend on
//!   the machine only, never on what the cache happens to hold.

mod compress;
mod format;
mod layout;
mod limits;
mod listing;
mod metadata;
mod pack;
mod plan;
mod tables;
mod xattrs;

use std::io::{self, Write};
use std::num::NonZero;
use std::thread;

use bootwright_oci::{Derived, ReadContent, Reporter, Task};
use bootwright_rootfs::Machine;

use compress::Settings;
pub use compress::{SquashfsCompression, SquashfsOptionsError};
use format::{
    FLAG_DUPLICATES, FLAG_EXPORTABLE, FLAG_NO_XATTRS, FLAG_OPTIONS, IMAGE_ALIGNMENT, METADATA_STORED, NO_TABLE,
    SUPERBLOCK_LEN, Superblock,
};
use layout::Layout;
pub use pack::SQUASHFS_SEGMENT_KIND;
use pack::{Job, Made};
use plan::Plan;

use crate::links::{self, Links};
use crate::raw::RawImage;
use crate::{Error, Format, GENERATED_MTIME};

/// How a squashfs is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquashfsOptions {
    /// How blocks are compressed.
    pub compression: SquashfsCompression,
    /// How hard; the compression's default if none.
    pub level: Option<i32>,
    /// Bytes of a block: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// Threads that compress; all processors if none. Never changes the bytes.
    pub threads: Option<NonZero<usize>>,
}

impl Default for SquashfsOptions {
    fn default() -> Self {
        Self { compression: SquashfsCompression::default(), level: None, block_size: 128 << 10, threads: None }
    }
}

impl SquashfsOptions {
    fn settings(&self) -> Result<Settings, SquashfsOptionsError> {
        let Self { compression, level, block_size, .. } = *self;
        if !block_size.is_power_of_two() || !(4 << 10..=1 << 20).contains(&block_size) {
            return Err(SquashfsOptionsError::BlockSize(block_size));
        }
        Ok(Settings { compression, level: compression.level(level)?, block_size })
    }
}

/// A squashfs, ready to be written any number of times.
#[derive(Debug)]
pub struct Squashfs {
    /// All of it, a multiple of 4096 bytes.
    pub(crate) image: RawImage,
    /// What each component that has segments takes of the data.
    pub components: Vec<SquashfsComponent>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What a component takes of a squashfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquashfsComponent {
    /// Index of the component in the machine.
    pub component: usize,
    /// Bytes of its segments. Files that an earlier component has are not among them.
    pub packed: u64,
    /// Whether all of them came from the cache.
    pub cached: bool,
}

impl Squashfs {
    /// Bytes of the image.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.image.size()
    }

    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// Those of the sink, and of the cache's files.
    pub fn write_to(&self, out: &mut dyn Write, progress: &mut dyn Task) -> io::Result<()> {
        self.image.write_to(out, progress)
    }
}

/// Refuses a tree that a squashfs cannot hold, before anything is read or written.
///
/// # Errors
///
/// [`Error::SquashfsOptions`], [`Error::Tree`] and [`Error::Misfit`].
pub fn check_squashfs(machine: &Machine, options: &SquashfsOptions) -> Result<(), Error> {
    let settings = options.settings()?;
    links::check_parents(machine)?;
    Links::of(machine)?;
    let misfits = limits::misfits(machine, settings.block_size);
    if !misfits.is_empty() {
        return Err(Error::Misfit { format: Format::KernelSquashfs, misfits });
    }
    Ok(())
}

/// Packs a machine's tree.
///
/// # Errors
///
/// Those of [`check_squashfs`], and [`Error::Read`] and [`Error::Cache`].
pub fn pack_squashfs(
    machine: &Machine,
    options: &SquashfsOptions,
    read: &dyn ReadContent,
    derived: &Derived,
    reporter: &dyn Reporter,
) -> Result<Squashfs, Error> {
    check_squashfs(machine, options)?;
    let settings = options.settings()?;
    let threads = options.threads.map_or_else(|| thread::available_parallelism().map_or(1, NonZero::get), NonZero::get);
    let plan = plan::plan(machine, settings);
    let made = Job { machine, read, derived, reporter, settings, threads }.all(&plan.segments)?;
    let image = compose(machine, &plan, &made, settings)?;
    let warnings = xattrs::lost(machine).into_iter().collect();
    Ok(Squashfs { image, components: weigh(&plan, &made), warnings })
}

/// Superblock, options, segments, tables.
fn compose(machine: &Machine, plan: &Plan<'_>, made: &[Made], settings: Settings) -> Result<RawImage, Error> {
    let options = settings.compression.options(settings.level).unwrap_or_default();
    let head_len = SUPERBLOCK_LEN + if options.is_empty() { 0 } else { 2 + options.len() };
    let layout = Layout::new(plan, made, head_len as u64);
    let links = Links::shared(machine)?;
    let tables = tables::tables(machine, &links, &layout, layout.end, settings);
    let (tables, superblock) = tables.map_err(|source| Error::Write { path: "squashfs".to_owned(), source })?;
    let flag = |condition, flag| if condition { flag } else { 0 };
    let superblock = Superblock {
        mtime: GENERATED_MTIME,
        block_size: settings.block_size,
        compression: settings.compression.number(),
        flags: FLAG_DUPLICATES
            | FLAG_EXPORTABLE
            | flag(superblock.xattr_table == NO_TABLE, FLAG_NO_XATTRS)
            | flag(!options.is_empty(), FLAG_OPTIONS),
        ..superblock
    };
    let mut head = superblock.encode();
    if !options.is_empty() {
        // A metadata block that is never compressed.
        head.extend((options.len() as u16 | METADATA_STORED).to_le_bytes());
        head.extend(options);
    }
    let mut image = RawImage::new(superblock.bytes_used.next_multiple_of(IMAGE_ALIGNMENT));
    image.put(0, head);
    let mut at = head_len as u64;
    for Made { file, len, .. } in made {
        image.put_file(at, file, 0, *len);
        at += len;
    }
    image.put(at, tables);
    Ok(image)
}

/// Adds up the segments of each component.
fn weigh(plan: &Plan<'_>, made: &[Made]) -> Vec<SquashfsComponent> {
    let mut components: Vec<SquashfsComponent> = Vec::new();
    for (segment, Made { len, cached, .. }) in plan.segments.iter().zip(made) {
        match components.last_mut().filter(|last| last.component == segment.component) {
            Some(last) => (last.packed, last.cached) = (last.packed + len, last.cached && *cached),
            None => components.push(SquashfsComponent { component: segment.component, packed: *len, cached: *cached }),
        }
    }
    components
}
