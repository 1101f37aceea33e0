//! What lies on the disk: the superblock, and where each level of the tree is; and the kernel's words for it.

use bootwright_bundle::Corruption;

/// Bytes of a block, of the data as of the tree.
pub(crate) const BLOCK: u64 = 4096;
/// Bytes of a hash.
pub(crate) const HASH: usize = 32;
/// Hashes in a block of the tree.
pub(crate) const HASHES: u64 = BLOCK / HASH as u64;

/// First bytes of the superblock.
const SIGNATURE: &[u8; 8] = b"verity\0\0";
/// Version of the superblock.
const VERSION: u32 = 1;
/// The salt comes before what is hashed, and hashes are stored at powers of two: 1, what everybody but Chrome OS has.
const HASH_TYPE: u32 = 1;
/// The kernel's name of the hash.
const ALGORITHM: &str = "sha256";
/// Bytes of a sector of a device-mapper table.
const SECTOR: u64 = 512;

/// A level of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Offset in bytes, from the superblock's begin.
    pub(crate) at: u64,
    /// Its blocks.
    pub(crate) blocks: u64,
}

/// The levels over so many blocks of data, the lowest first. One block of data has none: its hash is the root.
pub(crate) fn levels(data_blocks: u64) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(HASHES);
        levels.push(Level { at: 0, blocks });
    }
    let mut at = BLOCK;
    for level in levels.iter_mut().rev() {
        level.at = at;
        at += level.blocks * BLOCK;
    }
    levels
}

/// Bytes of superblock and tree over so many blocks of data.
#[must_use]
pub fn tree_len(data_blocks: u64) -> u64 {
    BLOCK + levels(data_blocks).iter().map(|level| level.blocks * BLOCK).sum::<u64>()
}

/// The superblock, in a block of its own.
pub(crate) fn superblock(data_blocks: u64, root_hash: &[u8; HASH]) -> Vec<u8> {
    let mut algorithm = [0; 32];
    algorithm[..ALGORITHM.len()].copy_from_slice(ALGORITHM.as_bytes());
    let mut block = Vec::with_capacity(BLOCK as usize);
    block.extend_from_slice(SIGNATURE);
    block.extend_from_slice(&VERSION.to_le_bytes());
    block.extend_from_slice(&HASH_TYPE.to_le_bytes());
    block.extend_from_slice(&uuid(root_hash));
    block.extend_from_slice(&algorithm);
    block.extend_from_slice(&(BLOCK as u32).to_le_bytes());
    block.extend_from_slice(&(BLOCK as u32).to_le_bytes());
    block.extend_from_slice(&data_blocks.to_le_bytes());
    // Then the salt's length and the salt, of which there is none.
    block.resize(BLOCK as usize, 0);
    block
}

/// The superblock's UUID: the root hash's first half, as version 8 (RFC 9562, "vendor-specific").
fn uuid(root_hash: &[u8; HASH]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&root_hash[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// The kernel argument that makes the verified device `/dev/dm-0` of a device that holds a root image, before there is any
/// program (`Documentation/admin-guide/device-mapper/dm-init.rst`, with CONFIG_DM_INIT and CONFIG_DM_VERITY built in).
///
/// `device` is a path, or `PARTUUID=` and a partition's UUID. `data_blocks` are blocks of 4096 bytes; the superblock follows them.
#[must_use]
pub fn device_argument(device: &str, data_blocks: u64, root_hash: &[u8; 32], corruption: Corruption) -> String {
    let sectors = data_blocks * BLOCK / SECTOR;
    let tree = data_blocks + 1;
    let hash: String = root_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let options = match corruption {
        Corruption::Eio => "",
        Corruption::Restart => " 1 restart_on_corruption",
    };
    format!(
        "dm-mod.create=\"root,,,ro,0 {sectors} verity 1 {device} {device} {BLOCK} {BLOCK} {data_blocks} {tree} {ALGORITHM} \
         {hash} -{options}\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_end_with_one_block_and_the_highest_lies_first() {
        let of = |blocks| levels(blocks).iter().map(|l| (l.at / BLOCK, l.blocks)).collect::<Vec<_>>();
        assert_eq!(of(1), []);
        assert_eq!(of(2), [(1, 1)]);
        assert_eq!(of(128), [(1, 1)]);
        assert_eq!(of(129), [(2, 2), (1, 1)]);
        assert_eq!(of(128 * 128 + 1), [(4, 129), (2, 2), (1, 1)]);
        assert_eq!(tree_len(128 * 128 + 1), 133 * BLOCK);
    }

    #[test]
    fn the_kernel_is_told_where_the_tree_lies() {
        let argument = |corruption| device_argument("PARTUUID=1-2", 10, &[0xab; 32], corruption);
        let hash = "ab".repeat(32);
        let eio = format!(
            "dm-mod.create=\"root,,,ro,0 80 verity 1 PARTUUID=1-2 PARTUUID=1-2 4096 4096 10 11 sha256 {hash} -\""
        );
        assert_eq!(argument(Corruption::Eio), eio);
        let restart = format!("{} 1 restart_on_corruption\"", &eio[..eio.len() - 1]);
        assert_eq!(argument(Corruption::Restart), restart);
    }
}
