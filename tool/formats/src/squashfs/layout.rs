//! Composition: the packed segments end to end, and where in the image that puts each file.

use bootwright_oci::TreePath;

use super::format::Fragment;
use super::pack::{Made, packed_len};
use super::plan::{Place, Plan};

/// The data of an image.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    plan: &'a Plan<'a>,
    made: &'a [Made],
    /// Offset of each segment's blocks in the image.
    blocks: Vec<Vec<u64>>,
    /// Number of each segment's first fragment block.
    first_fragment: Vec<u32>,
    /// Offset and size of all fragment blocks.
    pub(super) fragments: Vec<(u64, u32)>,
    /// Where the data ends.
    pub(super) end: u64,
}

/// What an inode says of a file's data.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Data<'a> {
    pub(super) start: u64,
    pub(super) blocks: &'a [u32],
    pub(super) fragment: Option<Fragment>,
}

impl<'a> Layout<'a> {
    /// Lays the segments one behind the other, the first at offset `base` of the image.
    pub(super) fn new(plan: &'a Plan<'a>, made: &'a [Made], base: u64) -> Self {
        let (mut blocks, mut first_fragment, mut fragments) = (Vec::new(), Vec::new(), Vec::new());
        let mut end = base;
        for (segment, made) in plan.segments.iter().zip(made) {
            let mut offsets = Vec::with_capacity(made.sizes.len());
            for size in &made.sizes {
                offsets.push(end);
                end += packed_len(*size);
            }
            // Each holds a file of less than a block: there are fewer than nodes, of which there are less than 2^32.
            first_fragment.push(fragments.len() as u32);
            fragments.extend(segment.fragments.iter().map(|block| (offsets[*block], made.sizes[*block])));
            blocks.push(offsets);
        }
        Self { plan, made, blocks, first_fragment, fragments, end }
    }

    /// The data of the file that a path holds; that of an empty file is nowhere.
    pub(super) fn file(&self, path: &TreePath) -> Data<'a> {
        let Some(&(segment, file)) = self.plan.stored.get(path) else { return Data::default() };
        match self.plan.segments[segment].files[file].place {
            Place::Blocks { first, count } => Data {
                start: self.blocks[segment][first],
                blocks: &self.made[segment].sizes[first..first + count],
                fragment: None,
            },
            Place::Fragment { index, offset } => {
                let index = self.first_fragment[segment] + index as u32;
                Data { fragment: Some(Fragment { index, offset }), ..Data::default() }
            }
        }
    }
}
