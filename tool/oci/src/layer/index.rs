//! What is in a layer, kept beside the unpacked layer so that no build after the first parses it again.
//!
//! The file: magic and version, the layer's two digests and its size, the entries one after the other, a SHA-256 of all
//! that. Numbers are LEB128, texts have their length before them. Whatever does not fit together is taken as absent.

use std::collections::BTreeMap;

use crate::{Content, Digest, Extent, Kind, Metadata, Node, TreePath};

/// To be changed with every change of the format, and with every change of what entries mean.
const MAGIC: &[u8; 12] = b"bw-layer\0\0\0\x01";

/// An unpacked layer: its entries in the archive's order, whiteouts among them, their data by offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerIndex {
    /// Digest of the blob, by which the unpacked layer is kept.
    pub key: Digest,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Bytes of the uncompressed archive.
    pub size: u64,
    pub(super) entries: Vec<Entry>,
}

/// One entry of the archive. A whiteout is a file with a whiteout's name, until layers are flattened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where, as the archive says: the parent may be a symbolic link.
    pub path: TreePath,
    /// What; the target of a hard link is as the archive says.
    pub node: Node,
}

impl LayerIndex {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the archive is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder(MAGIC.to_vec());
        out.digest(&self.key);
        out.digest(&self.diff_id);
        out.number(self.size);
        out.number(self.entries.len() as u64);
        for Entry { path, node } in &self.entries {
            out.bytes(path.as_bytes());
            out.meta(&node.meta);
            out.kind(&node.kind);
        }
        let sum = Digest::of(&out.0);
        out.digest(&sum);
        out.0
    }

    pub(super) fn decode(key: &Digest, bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        let mut input = Decoder { rest: body.strip_prefix(MAGIC)?, key: *key };
        if Digest::of(body).bytes() != sum || input.digest()? != *key {
            return None;
        }
        let (diff_id, size, count) = (input.digest()?, input.number()?, input.number()?);
        // An entry takes more than eight bytes: a wrong count cannot reserve much.
        let mut entries = Vec::with_capacity(usize::try_from(count).ok()?.min(body.len() / 8));
        for _ in 0..count {
            let path = input.path()?;
            let meta = input.meta()?;
            entries.push(Entry { path, node: Node { meta, kind: input.kind()? } });
        }
        input.rest.is_empty().then_some(Self { key: *key, diff_id, size, entries })
    }
}

struct Encoder(Vec<u8>);

impl Encoder {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(digest.bytes());
    }

    fn meta(&mut self, meta: &Metadata) {
        for value in [meta.mode, meta.uid, meta.gid] {
            self.number(value.into());
        }
        self.number(meta.mtime.cast_unsigned());
        self.number(meta.xattrs.len() as u64);
        for (name, value) in &meta.xattrs {
            self.bytes(name);
            self.bytes(value);
        }
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            Kind::Directory => self.0.push(0),
            Kind::File(content) => {
                self.0.push(1);
                let Content::Layer { size, digest, extents, .. } = content else {
                    unreachable!("a layer's files are in the layer")
                };
                self.number(*size);
                self.digest(digest);
                self.number(extents.len() as u64);
                for Extent { file, layer, len } in extents.iter() {
                    self.number(*file);
                    self.number(*layer);
                    self.number(*len);
                }
            }
            Kind::HardLink(target) => {
                self.0.push(2);
                self.bytes(target.as_bytes());
            }
            Kind::Symlink(target) => {
                self.0.push(3);
                self.bytes(target);
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                self.0.push(if matches!(kind, Kind::CharDevice { .. }) { 4 } else { 5 });
                self.number((*major).into());
                self.number((*minor).into());
            }
            Kind::Fifo => self.0.push(6),
        }
    }
}

struct Decoder<'a> {
    rest: &'a [u8],
    key: Digest,
}

impl<'a> Decoder<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    fn path(&mut self) -> Option<TreePath> {
        TreePath::new(self.bytes()?).ok()
    }

    fn digest(&mut self) -> Option<Digest> {
        let (bytes, rest) = self.rest.split_first_chunk::<32>()?;
        self.rest = rest;
        Some(Digest::from_bytes(*bytes))
    }

    fn meta(&mut self) -> Option<Metadata> {
        let (mode, uid, gid) = (self.small()?, self.small()?, self.small()?);
        let mtime = self.number()?.cast_signed();
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.number()? {
            xattrs.insert(self.bytes()?.to_vec(), self.bytes()?.to_vec());
        }
        Some(Metadata { mode, uid, gid, mtime, xattrs })
    }

    fn kind(&mut self) -> Option<Kind> {
        Some(match self.byte()? {
            0 => Kind::Directory,
            1 => {
                let (size, digest) = (self.number()?, self.digest()?);
                let mut extents = Vec::new();
                for _ in 0..self.number()? {
                    extents.push(Extent { file: self.number()?, layer: self.number()?, len: self.number()? });
                }
                Kind::File(Content::Layer { layer: self.key, size, digest, extents: extents.into() })
            }
            2 => Kind::HardLink(self.path()?),
            3 => Kind::Symlink(self.bytes()?.to_vec()),
            4 => Kind::CharDevice { major: self.small()?, minor: self.small()? },
            5 => Kind::BlockDevice { major: self.small()?, minor: self.small()? },
            6 => Kind::Fifo,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> LayerIndex {
        let key = Digest::of(b"key");
        let content = Content::Layer {
            layer: key,
            size: 9 << 30,
            digest: Digest::of(b"x"),
            extents: vec![Extent { file: 0, layer: 512, len: 5 }, Extent { file: 8 << 30, layer: 517, len: 1 }].into(),
        };
        let xattrs = BTreeMap::from([(b"security.capability".to_vec(), vec![1, 0, 0, 2])]);
        let meta = Metadata { mode: 0o4755, uid: u32::MAX, gid: 7, mtime: -5, xattrs };
        let kinds = [
            Kind::Directory,
            Kind::File(content),
            Kind::HardLink(TreePath::new("a/b").unwrap()),
            Kind::Symlink(b"../\xff".to_vec()),
            Kind::CharDevice { major: 1, minor: u32::MAX },
            Kind::BlockDevice { major: 0, minor: 3 },
            Kind::Fifo,
        ];
        let entry = |(n, kind)| Entry {
            path: TreePath::new(format!("dir/{n}")).unwrap(),
            node: Node { meta: meta.clone(), kind },
        };
        LayerIndex {
            key,
            diff_id: Digest::of(b"y"),
            size: 4096,
            entries: kinds.into_iter().enumerate().map(entry).collect(),
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let index = index();
        assert_eq!(LayerIndex::decode(&index.key, &index.encode()), Some(index));
    }

    #[test]
    fn a_damaged_or_foreign_index_is_absent() {
        let index = index();
        let bytes = index.encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(LayerIndex::decode(&index.key, &damaged), None, "bit flipped at {at}");
            assert_eq!(LayerIndex::decode(&index.key, &bytes[..at]), None, "cut off at {at}");
        }
        assert_eq!(LayerIndex::decode(&index.diff_id, &bytes), None, "the index of another layer");
    }

    #[test]
    fn a_body_that_lies_is_absent_even_with_a_right_sum() {
        let index = index();
        let bytes = index.encode();
        let body = &bytes[..bytes.len() - 32];
        for at in MAGIC.len()..body.len() {
            let mut damaged = body.to_vec();
            damaged[at] ^= 0x80;
            let sum = Digest::of(&damaged);
            damaged.extend_from_slice(sum.bytes());
            assert_ne!(LayerIndex::decode(&index.key, &damaged), Some(index.clone()), "bit flipped at {at}");
        }
    }
}
