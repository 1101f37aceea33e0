//! Which directories there are, how large the volume is, and where everything lies.

use std::collections::BTreeMap;

use super::FatError;
use super::format::{DIRECTORY_ENTRY, FIRST_CLUSTER, Geometry, LONG_UNITS, MAX_DIRECTORY, MIN_CLUSTERS, RESERVED};
use super::name::{self, Name};
use crate::disk::SECTOR;

/// A file to be, of which only the size is known.
#[derive(Clone, Copy, Debug)]
pub struct FatFile<'a> {
    /// Its path, such as `EFI/BOOT/BOOTX64.EFI`; the directories need not be named.
    pub path: &'a str,
    /// Bytes of it.
    pub len: u64,
}

/// A FAT32 filesystem in which everything has its place.
#[derive(Clone, Debug)]
pub struct FatPlan {
    pub(super) label: [u8; 11],
    pub(super) geometry: Geometry,
    /// The root comes first.
    pub(super) directories: Vec<Directory>,
    /// In the order in which they were given.
    pub(super) files: Vec<PlacedFile>,
    /// The first cluster that nothing is in; nor is anything in those behind it.
    pub(super) free: u32,
}

/// A run of clusters; none of them is cluster zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) clusters: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: String,
    /// The directory that it is in; the root is in itself.
    pub(super) parent: usize,
    children: BTreeMap<String, (String, Child)>,
    /// What is in it, in order.
    pub(super) entries: Vec<(Name, Child)>,
    pub(super) run: Run,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Child {
    Directory(usize),
    File(usize),
}

#[derive(Clone, Debug)]
pub(super) struct PlacedFile {
    pub(super) path: String,
    pub(super) len: u32,
    pub(super) run: Run,
}

impl FatPlan {
    /// Gives files their places in a filesystem with a label of at most eleven capitals, which is as small as can be but not
    /// smaller than so many bytes. The order of the files does not matter.
    ///
    /// # Errors
    ///
    /// See [`FatError`].
    ///
    /// # Panics
    ///
    /// The label is something else than capitals, digits, spaces and underscores.
    pub fn new(files: &[FatFile<'_>], label: &str, min_size: u64) -> Result<Self, FatError> {
        let fits = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b' ' || c == b'_';
        assert!(label.len() <= 11 && label.bytes().all(fits), "`{label}` is not a label");
        let mut padded = [b' '; 11];
        padded[..label.len()].copy_from_slice(label.as_bytes());

        let mut order: Vec<_> = (0..files.len()).collect();
        order.sort_by_key(|index| files[*index].path);
        let mut directories = vec![Directory::new(String::new(), 0)];
        let mut placed = Vec::with_capacity(files.len());
        for file in files {
            let too_large = |_| FatError::TooLarge { path: file.path.to_owned(), len: file.len };
            let len = u32::try_from(file.len).map_err(too_large)?;
            placed.push(PlacedFile { path: file.path.to_owned(), len, run: Run::default() });
        }
        for index in &order {
            insert(&mut directories, files[*index].path, *index)?;
        }
        for directory in &mut directories {
            directory.name()?;
        }

        let lens: Vec<_> = directories.iter().map(Directory::len).chain(placed.iter().map(|f| f.len.into())).collect();
        let geometry = geometry(&lens, min_size)?;
        let mut free = FIRST_CLUSTER;
        let mut take = |len: u64| {
            // The geometry has room for all, and no volume has more clusters than 32 bits can say.
            let clusters = len.div_ceil(geometry.cluster_len()) as u32;
            let run = Run { first: if clusters > 0 { free } else { 0 }, clusters };
            free += clusters;
            run
        };
        for directory in &mut directories {
            directory.run = take(directory.len());
        }
        for index in order {
            placed[index].run = take(placed[index].len.into());
        }
        Ok(Self { label: padded, geometry, directories, files: placed, free })
    }

    /// Bytes of the filesystem.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.geometry.sectors() * SECTOR
    }

    /// The sector at which each file begins, counted from the filesystem's first, in the order in which they were given; none for an
    /// empty file.
    #[must_use]
    pub fn sectors(&self) -> Vec<Option<u64>> {
        let sector = |run: Run| (run.clusters > 0).then(|| self.geometry.sector_of(run.first));
        self.files.iter().map(|file| sector(file.run)).collect()
    }
}

impl Directory {
    fn new(path: String, parent: usize) -> Self {
        Self { path, parent, children: BTreeMap::new(), entries: Vec::new(), run: Run::default() }
    }

    /// Bytes of it: the label in the root, `.` and `..` elsewhere, and what is in it.
    fn len(&self) -> u64 {
        let own = if self.path.is_empty() { 1 } else { 2 };
        let entries = |(name, _): &(Name, Child)| 1 + name.long.len().div_ceil(LONG_UNITS) as u64;
        (own + self.entries.iter().map(entries).sum::<u64>()) * DIRECTORY_ENTRY
    }

    /// Finds the names under which its children are stored.
    fn name(&mut self) -> Result<(), FatError> {
        let children = std::mem::take(&mut self.children);
        let names = name::of_directory(children.values().map(|(name, _)| &name[..]));
        self.entries = names.into_iter().zip(children.into_values().map(|(_, child)| child)).collect();
        let entries = self.len() / DIRECTORY_ENTRY;
        match entries <= MAX_DIRECTORY {
            true => Ok(()),
            false => Err(FatError::Directory { path: format!("/{}", self.path), entries }),
        }
    }
}

/// Puts a file into its directory, which is made if there is none.
fn insert(directories: &mut Vec<Directory>, path: &str, file: usize) -> Result<(), FatError> {
    let mut here = 0;
    let mut end = 0;
    for name in path.split('/') {
        if let Some(what) = name::fault(name) {
            return Err(FatError::Name { path: path.to_owned(), what });
        }
        let above = &path[..end];
        end += name.len() + usize::from(end > 0);
        let is_file = end == path.len();
        let next = directories.len();
        let folded = name::folded(name);
        match directories[here].children.get(&folded) {
            Some((known, Child::Directory(index))) if known == name && !is_file => here = *index,
            Some((known, _)) => {
                let first = if above.is_empty() { known.clone() } else { format!("{above}/{known}") };
                return Err(FatError::Clash { first, second: path.to_owned() });
            }
            None => {
                let child = if is_file { Child::File(file) } else { Child::Directory(next) };
                directories[here].children.insert(folded, (name.to_owned(), child));
                if !is_file {
                    directories.push(Directory::new(path[..end].to_owned(), here));
                    here = next;
                }
            }
        }
    }
    Ok(())
}

/// The smallest volume for directories and files of so many bytes that is not smaller than asked.
fn geometry(lens: &[u64], min_size: u64) -> Result<Geometry, FatError> {
    let bytes = lens.iter().sum::<u64>().max(min_size);
    // Microsoft's table. Larger clusters make smaller tables, but enough of them to be a FAT32 must be filled by the contents.
    let cluster = match bytes >> 20 {
        0..260 => 1,
        260..8192 => 8,
        8192..16384 => 16,
        16384..32768 => 32,
        _ => 64,
    };
    let most = u64::from(u32::MAX);
    let too_large = |sectors: u64| FatError::Volume { size: sectors.saturating_mul(SECTOR) };
    if bytes.div_ceil(SECTOR) > most {
        return Err(too_large(bytes.div_ceil(SECTOR)));
    }
    let used = lens.iter().map(|len| len.div_ceil(cluster * SECTOR)).sum::<u64>();
    let wanted = min_size.div_ceil(SECTOR);
    // A cluster takes its sectors and two table entries, of which a sector has 128; this is a little less than there will be.
    let nearly = wanted.saturating_sub(RESERVED + 16) * 64 / (64 * cluster + 1);
    let mut geometry = Geometry::new(cluster, used.max(nearly).max(MIN_CLUSTERS));
    while geometry.sectors() < wanted {
        geometry = Geometry::new(cluster, geometry.clusters + 1);
    }
    match geometry.sectors() <= most {
        true => Ok(geometry),
        false => Err(too_large(geometry.sectors())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_as_small_as_can_be() {
        let mib = 1 << 20;
        let sectors = |lens: &[u64], min| geometry(lens, min).unwrap().sectors();
        // 65,541 clusters, two tables of 513 sectors, 32 reserved ones, and six so that clusters are aligned.
        assert_eq!(sectors(&[], 0), 65_541 + 2 * 513 + 38);
        assert_eq!(sectors(&[], 0), sectors(&[1; 65_541], 0));
        assert_eq!(sectors(&[1; 65_542], 0), sectors(&[], 0) + 1);
        assert_eq!(geometry(&[260 * mib - 1], 0).unwrap().cluster, 1);
        let larger = geometry(&[260 * mib], 0).unwrap();
        assert_eq!((larger.cluster, larger.clusters), (8, 260 * 256));
        for asked in (34..2000).step_by(7).chain([9000, 20_000, 1 << 20]) {
            let over = sectors(&[], asked * mib) - asked * mib / SECTOR;
            // A cluster, and where its entry needs new sectors of the tables, those.
            assert!(over < 64 + 8, "{over} sectors more than {asked} MiB");
        }
    }

    #[test]
    fn the_largest_volumes() {
        let file = u64::from(u32::MAX);
        let full = geometry(&[file; 511], 0).unwrap();
        assert!(full.cluster == 64 && full.sectors() < file);
        assert!(matches!(geometry(&[file; 512], 0), Err(FatError::Volume { .. })));
        assert!(matches!(geometry(&[], u64::MAX), Err(FatError::Volume { .. })));
    }
}
