//! What a layer may cost, so that a hostile one is refused before it fills a disk or the memory.

/// Bounds on one layer. The defaults are far above what images hold and far below what hurts a build machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the decompressed archive. Default: 64 GiB.
    pub unpacked: u64,
    /// How many times its compressed size an archive may grow, once it is over [`Limits::ratio_floor`]. Default: 200.
    pub ratio: u64,
    /// Bytes of decompressed archive below which [`Limits::ratio`] does not count. Default: 1 GiB.
    pub ratio_floor: u64,
    /// Bytes of all files together, holes included, for holes must be hashed as well. Default: 64 GiB.
    pub content: u64,
    /// Entries. Default: 1,000,000.
    pub entries: u64,
    /// Character and block devices. Default: 4,096.
    pub devices: u64,
    /// Bytes of a path. Default: 4,096 (Linux's PATH_MAX).
    pub path: u64,
    /// Bytes of one component of a path. Default: 255 (Linux's NAME_MAX).
    pub name: u64,
    /// Components of a path. Default: 512.
    pub depth: u64,
    /// Bytes of the target of a symbolic link. Default: 4,095 (what Linux can hold).
    pub link_target: u64,
    /// Extended attributes of one entry. Default: 128.
    pub xattrs: u64,
    /// Bytes of one extended attribute's value. Default: 64 KiB (Linux's XATTR_SIZE_MAX).
    pub xattr_value: u64,
    /// Bytes of one extended header (PAX records, a GNU long name). Default: 1 MiB, as Go's reader has it.
    pub extended: u64,
    /// Runs of data in all sparse files together. Default: 262,144.
    pub extents: u64,
    /// Bytes of all names, link targets and extended attributes together, for they are held in memory. Default: 128 MiB.
    pub metadata: u64,
    /// Whether names that begin with a slash are taken as relative to the root instead of refused. Default: no.
    ///
    /// Container engines take them so, and some builders write them (ko, Cloud Native Buildpacks).
    pub absolute_names: bool,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        Self {
            unpacked: 64 * GIB,
            ratio: 200,
            ratio_floor: GIB,
            content: 64 * GIB,
            entries: 1_000_000,
            devices: 4096,
            path: 4096,
            name: 255,
            depth: 512,
            link_target: 4095,
            xattrs: 128,
            xattr_value: 64 * KIB,
            extended: MIB,
            extents: 256 * KIB,
            metadata: 128 * MIB,
            absolute_names: false,
        }
    }
}
