//! Laying out the data: which segments there are, what is in them and where in them each file is, before a byte of content
//! is opened. What is told in the module's header about segments is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};

use bootwright_oci::{Content, Digest, Hasher, Kind, TreePath};
use bootwright_rootfs::Machine;

use super::compress::Settings;

/// Raised whenever the same files give other bytes: a change here or in `pack`, or an update of a compression library that
/// changes the golden digests. The cache's keys hold it.
const WRITER_VERSION: u32 = 1;
/// Bytes of a segment, unpacked, from which on it may end. They have twice as much on average.
const SEGMENT_MIN: u64 = 4 << 20;
/// Segments of one layer, roughly: each is an open file while an image is written.
const SEGMENTS: u64 = 64;

/// The data of a machine's files.
#[derive(Debug)]
pub(super) struct Plan<'m> {
    /// In the order in which they lie in the image.
    pub(super) segments: Vec<Segment<'m>>,
    /// Where the bytes of a path's file are: segment, and file in it. Empty files are nowhere.
    pub(super) stored: BTreeMap<&'m TreePath, (usize, usize)>,
}

/// A run of the files of one layer that one component needs.
#[derive(Debug)]
pub(super) struct Segment<'m> {
    /// Index of the component.
    pub(super) component: usize,
    pub(super) files: Vec<File<'m>>,
    /// How many blocks there are, those of fragments included.
    pub(super) blocks: usize,
    /// Which of them are blocks of fragments.
    pub(super) fragments: Vec<usize>,
}

/// The bytes of a file.
#[derive(Debug)]
pub(super) struct File<'m> {
    /// The first path that has them, for messages.
    pub(super) path: &'m TreePath,
    pub(super) content: &'m Content,
    pub(super) digest: Digest,
    pub(super) place: Place,
}

/// Where in its segment a file is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// It has blocks of its own.
    Blocks { first: usize, count: usize },
    /// It is shorter than a block and shares one: index into [`Segment::fragments`], and offset in the unpacked block.
    Fragment { index: usize, offset: u32 },
}

/// A component's files, by layer.
type Layers<'m> = Vec<(Option<&'m Digest>, Vec<File<'m>>)>;

/// Lays out all data. Components come in the machine's order, each one's layers in the order of the first file that it needs of
/// each, and the files of a layer by path. What is not from a layer is together, as if it were one.
pub(super) fn plan(machine: &Machine, settings: Settings) -> Plan<'_> {
    let mut components: BTreeMap<usize, Layers<'_>> = BTreeMap::new();
    for (path, placed) in &machine.tree {
        let Kind::File(content) = &placed.node.kind else { continue };
        if content.size() == 0 {
            continue;
        }
        let layer = match content {
            Content::Layer { layer, .. } => Some(layer),
            Content::Inline(_) | Content::Host { .. } => None,
        };
        // Its place is known when all are known.
        let file = File { path, content, digest: content.digest(), place: Place::Blocks { first: 0, count: 0 } };
        let layers = components.entry(placed.component).or_default();
        match layers.iter_mut().find(|(known, _)| *known == layer) {
            Some((_, files)) => files.push(file),
            None => layers.push((layer, vec![file])),
        }
    }
    let mut segments = Vec::new();
    let mut known = BTreeSet::new();
    let mut names = Vec::new();
    for (component, layers) in components {
        for (_, mut files) in layers {
            // Who comes first in this order stores a file for all.
            files.retain(|file| {
                names.push((file.path, file.digest));
                known.insert(file.digest)
            });
            let runs = cut(files).into_iter().filter(|files| !files.is_empty());
            segments.extend(runs.map(|files| Segment::new(component, files, settings.block_size)));
        }
    }
    let mut places = BTreeMap::new();
    for (number, segment) in segments.iter().enumerate() {
        places.extend(segment.files.iter().enumerate().map(|(index, file)| (file.digest, (number, index))));
    }
    let stored = names.into_iter().map(|(path, digest)| (path, places[&digest])).collect();
    Plan { segments, stored }
}

/// Cuts a layer's files into segments at files that their own digests choose, so that a file more or less moves the cuts next to
/// it only. The larger a file, the more likely it is chosen.
fn cut(files: Vec<File<'_>>) -> Vec<Vec<File<'_>>> {
    let total: u64 = files.iter().map(|f| f.content.size()).sum();
    // A power of two, so that a layer that grows keeps its segments until it is twice as large.
    let min = SEGMENT_MIN.max((total / SEGMENTS + 1).next_power_of_two() / 2);
    let mut segments = Vec::new();
    let mut segment = Vec::new();
    let mut size = 0;
    for file in files {
        let [a, b, c, d, ..] = *file.digest.bytes();
        let chance = u128::from(file.content.size()) << 32;
        let chosen = u128::from(u32::from_be_bytes([a, b, c, d])) * u128::from(min) < chance;
        size += file.content.size();
        segment.push(file);
        if chosen && size >= min {
            segments.push(std::mem::take(&mut segment));
            size = 0;
        }
    }
    segments.push(segment);
    segments
}

impl<'m> Segment<'m> {
    /// Places files: a large one in blocks of its own, the others in shared ones, in order, as long as there is room.
    fn new(component: usize, mut files: Vec<File<'m>>, block_size: u32) -> Self {
        let mut blocks = 0;
        let mut fragments = Vec::new();
        let mut open = 0;
        for file in &mut files {
            let size = file.content.size();
            file.place = match u32::try_from(size).ok().filter(|size| *size < block_size) {
                Some(size) => {
                    if open + size > block_size {
                        fragments.push(blocks);
                        blocks += 1;
                        open = 0;
                    }
                    let offset = open;
                    open += size;
                    Place::Fragment { index: fragments.len(), offset }
                }
                None => {
                    let first = blocks;
                    blocks += size.div_ceil(u64::from(block_size)) as usize;
                    Place::Blocks { first, count: blocks - first }
                }
            };
        }
        if open > 0 {
            fragments.push(blocks);
            blocks += 1;
        }
        Self { component, files, blocks, fragments }
    }

    /// Bytes of its files.
    pub(super) fn size(&self) -> u64 {
        self.files.iter().map(|f| f.content.size()).sum()
    }

    /// Digest of everything that decides the segment's bytes.
    pub(super) fn key(&self, settings: Settings) -> Digest {
        let Settings { compression, level, block_size } = settings;
        let mut hasher = Hasher::new(io::sink());
        let mut describe = || -> io::Result<()> {
            let library = compression.library();
            writeln!(hasher, "squashfs {WRITER_VERSION} {compression} {library} {level} {block_size}")?;
            self.files.iter().try_for_each(|file| writeln!(hasher, "{} {}", file.digest, file.content.size()))
        };
        describe().expect("a hasher takes everything");
        hasher.finish().1
    }
}
