//! What the tests build archives with, and unpack them into.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bootwright_oci::layer::{self, LayerError, LayerIndex, Limits};
use bootwright_oci::{Content, Derived, Digest, Kind, Node, Tree, TreePath};
use tempfile::TempDir;

/// A header made by hand, so that it can say what no library would.
pub fn header(name: &[u8], flag: u8, size: &[u8]) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..124 + size.len()].copy_from_slice(size);
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(block)
}

/// Puts the right checksum into a header.
pub fn seal(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Octal size field.
pub fn octal(size: u64) -> Vec<u8> {
    format!("{size:011o}\0").into_bytes()
}

/// Data with its padding.
pub fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(512), 0);
    data
}

/// One entry with data, made by hand.
pub fn entry(name: &[u8], flag: u8, data: &[u8]) -> Vec<u8> {
    [&header(name, flag, &octal(data.len() as u64))[..], &padded(data)].concat()
}

/// A link of either kind, made by hand.
pub fn link(name: &[u8], flag: u8, target: &[u8]) -> Vec<u8> {
    let mut block = header(name, flag, &octal(0));
    block[157..157 + target.len()].copy_from_slice(target);
    seal(block).to_vec()
}

/// PAX records, and the entry that they are about.
pub fn pax(records: &[(&str, &[u8])], entry_bytes: &[u8]) -> Vec<u8> {
    [entry(b"PaxHeaders/x", b'x', &records_of(records)), entry_bytes.to_vec()].concat()
}

/// The data of a PAX header.
pub fn records_of(records: &[(&str, &[u8])]) -> Vec<u8> {
    let record = |(key, value): &(&str, &[u8])| {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let length = (1..).find(|n: &usize| n.to_string().len() + body.len() == *n).unwrap();
        [length.to_string().into_bytes(), body].concat()
    };
    records.iter().flat_map(record).collect()
}

/// The two blocks that end an archive.
pub fn ended(mut archive: Vec<u8>) -> Vec<u8> {
    archive.extend([0; 1024]);
    archive
}

/// A cache of its own, and what is done with it.
pub struct Cache {
    pub directory: TempDir,
    pub derived: Derived,
}

impl Cache {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let derived = Derived::new(directory.path().join("derived"));
        Self { directory, derived }
    }

    pub fn unpack(&self, blob: &[u8]) -> Result<Arc<LayerIndex>, LayerError> {
        self.unpack_within(blob, &Limits::default())
    }

    pub fn unpack_within(&self, blob: &[u8], limits: &Limits) -> Result<Arc<LayerIndex>, LayerError> {
        layer::unpack(&mut &blob[..], &Digest::of(blob), &self.derived, limits)
    }

    /// Unpacks and flattens layers, lowest first.
    pub fn tree(&self, layers: &[Vec<u8>]) -> Result<Tree, LayerError> {
        let layers = layers.iter().map(|layer| self.unpack(layer)).collect::<Result<Vec<_>, _>>()?;
        layer::flatten(&layers)
    }

    /// The bytes of a file of a tree, whose digest and size are checked on the way.
    pub fn read(&self, tree: &Tree, path: &str) -> Vec<u8> {
        let content = content(tree, path);
        let mut bytes = Vec::new();
        layer::open(content, &self.derived).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, content.size(), "{path}");
        assert_eq!(Digest::of(&bytes), content.digest(), "{path}");
        bytes
    }

    /// Everything below the directory of the cache's directory, to see that nothing was written outside or left over.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.directory.path(), self.directory.path(), &mut found);
        found.sort();
        found
    }
}

fn walk(root: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(root, &entry.path(), found);
        } else {
            found.push(entry.path().strip_prefix(root).unwrap().display().to_string());
        }
    }
}

pub fn path(path: &str) -> TreePath {
    TreePath::new(path).unwrap()
}

/// The node at a path, which must be there.
pub fn node<'a>(tree: &'a Tree, at: &str) -> &'a Node {
    tree.get(&path(at)).unwrap_or_else(|| panic!("no `{at}` in {:?}", paths(tree)))
}

/// The content of the file at a path, by any of its names.
pub fn content<'a>(tree: &'a Tree, at: &str) -> &'a Content {
    match &node(tree, at).kind {
        Kind::File(content) => content,
        Kind::HardLink(target) => content(tree, &target.to_string()),
        other => panic!("`{at}` is no file: {other:?}"),
    }
}

/// All paths of a tree.
pub fn paths(tree: &Tree) -> Vec<String> {
    tree.iter().map(|(path, _)| path.to_string()).collect()
}

/// An error with its causes, as the command line shows it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Runs a program of the machine, which must succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{:?}: {error}; apt-get install tar attr libcap2-bin python3", command.get_program())
    });
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}
