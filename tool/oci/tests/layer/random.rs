//! Random small layers: flattening them must give what applying them to a real directory gives.
//!
//! The reference below knows nothing of inodes and indexes: it makes real files, links and directories, and lets the
//! kernel say what becomes of them. Only symbolic links are followed by hand, within the directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bootwright_oci::{Kind, Tree};

use crate::archive::{Cache, entry, header, link, octal, padded, seal};

/// xorshift64*: the same trees on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.below(3);
        (0..depth).map(|_| ["a", "b", "c", "a-"][self.below(4)]).collect::<Vec<_>>().join("/")
    }
}

#[derive(Clone, Debug)]
enum Item {
    Directory { path: String, mode: u32 },
    File { path: String, mode: u32, data: String },
    Symlink { path: String, target: String },
    HardLink { path: String, target: String },
    Whiteout { path: String },
    Opaque { path: String },
}

fn layers(random: &mut Random) -> Vec<Vec<Item>> {
    let (mut serial, mut files, count) = (0, Vec::new(), 1 + random.below(3));
    let mut item = |random: &mut Random| {
        serial += 1;
        let path = random.path();
        match random.below(12) {
            0..=2 => Item::Directory { path, mode: [0o755, 0o700, 0o1777][random.below(3)] },
            3..=6 => {
                files.push(path.clone());
                Item::File { path, mode: [0o644, 0o4755][random.below(2)], data: format!("data {serial}") }
            }
            7 => {
                let target = random.path();
                let target = [target.clone(), format!("../{target}"), format!("/{target}"), format!("./{target}/..")];
                Item::Symlink { path, target: target[random.below(4)].clone() }
            }
            8 | 9 if !files.is_empty() => {
                // Also by a name that a symbolic link may lead to.
                let target =
                    if random.below(8) == 0 { random.path() } else { files[random.below(files.len())].clone() };
                files.push(path.clone());
                Item::HardLink { path, target }
            }
            10 => Item::Whiteout { path },
            _ => Item::Opaque { path },
        }
    };
    (0..count).map(|_| (0..1 + random.below(7)).map(|_| item(random)).collect()).collect()
}

fn archive(layer: &[Item]) -> Vec<u8> {
    let with_mode = |path: &str, flag, mode: u32, data: &[u8]| {
        let mut block = header(path.as_bytes(), flag, &octal(data.len() as u64));
        block[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
        [seal(block).to_vec(), padded(data)].concat()
    };
    let bytes = |item: &Item| match item {
        Item::Directory { path, mode } => with_mode(path, b'5', *mode, b""),
        Item::File { path, mode, data } => with_mode(path, b'0', *mode, data.as_bytes()),
        Item::Symlink { path, target } => link(path.as_bytes(), b'2', target.as_bytes()),
        Item::HardLink { path, target } => link(path.as_bytes(), b'1', target.as_bytes()),
        Item::Whiteout { path } => {
            let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
            entry(format!("{parent}/.wh.{name}").as_bytes(), b'0', b"")
        }
        Item::Opaque { path } => entry(format!("{path}/.wh..wh..opq").as_bytes(), b'0', b""),
    };
    layer.iter().flat_map(bytes).collect()
}

/// A real directory that layers are applied to.
struct Reference {
    root: PathBuf,
}

type Applied<T> = Result<T, &'static str>;

impl Reference {
    fn apply(&self, layer: &[Item]) -> Applied<()> {
        for item in layer {
            match item {
                Item::Whiteout { path } => self.remove(&self.real(path)?),
                Item::Opaque { path } => {
                    // The name of a file in it, so that the directory itself is followed.
                    let directory = self.real(&format!("{path}/x"))?.parent().unwrap().to_owned();
                    if directory.is_dir() && !directory.is_symlink() {
                        for child in fs::read_dir(&directory).unwrap() {
                            self.remove(&child.unwrap().path());
                        }
                    }
                }
                _ => {}
            }
        }
        let mut mine: Vec<PathBuf> = Vec::new();
        for item in layer {
            match item {
                Item::Directory { path, mode } => {
                    let real = self.ready(path, &mut mine)?;
                    if !real.is_dir() || real.is_symlink() {
                        self.remove(&real);
                        fs::create_dir(&real).unwrap();
                    }
                    fs::set_permissions(&real, fs::Permissions::from_mode(*mode)).unwrap();
                }
                Item::File { path, mode, data } => {
                    let real = self.ready(path, &mut mine)?;
                    self.remove(&real);
                    fs::write(&real, data).unwrap();
                    fs::set_permissions(&real, fs::Permissions::from_mode(*mode)).unwrap();
                }
                Item::Symlink { path, target } => {
                    let real = self.ready(path, &mut mine)?;
                    self.remove(&real);
                    symlink(target, &real).unwrap();
                }
                Item::HardLink { path, target } => {
                    let real = self.ready(path, &mut mine)?;
                    let target = self.real(target)?;
                    match fs::symlink_metadata(&target) {
                        Err(_) => return Err("no target"),
                        Ok(found) if found.is_dir() => return Err("target is a directory"),
                        Ok(_) if target == real => continue,
                        Ok(_) => {}
                    }
                    // The target may lie in a directory that the link replaces.
                    let aside = self.root.parent().unwrap().join("aside");
                    fs::hard_link(&target, &aside).unwrap();
                    self.remove(&real);
                    fs::rename(&aside, &real).unwrap();
                }
                Item::Whiteout { .. } | Item::Opaque { .. } => {}
            }
        }
        Ok(())
    }

    /// The real path of an entry, whose parent is a directory afterwards; the entry counts as the layer's own.
    fn ready(&self, path: &str, mine: &mut Vec<PathBuf>) -> Applied<PathBuf> {
        let real = self.real(path)?;
        let parents: Vec<_> =
            real.ancestors().skip(1).take_while(|p| p.starts_with(&self.root) && *p != self.root).collect();
        for parent in parents.iter().rev() {
            if !parent.is_dir() || parent.is_symlink() {
                if parent.symlink_metadata().is_ok() {
                    if mine.iter().any(|p| p == parent) {
                        return Err("not a directory");
                    }
                    self.remove(parent);
                }
                fs::create_dir(parent).unwrap();
                fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        mine.push(real.clone());
        Ok(real)
    }

    /// Follows the symbolic links among the parents of a path.
    fn real(&self, path: &str) -> Applied<PathBuf> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (mut at, mut rest, mut links) = (self.root.clone(), PathBuf::from(parent), 0);
        loop {
            let mut parts = rest.components();
            let Some(part) = parts.next() else { return Ok(at.join(name)) };
            let after = parts.as_path().to_owned();
            match part.as_os_str().to_str().unwrap() {
                "/" => at.clone_from(&self.root),
                "." => {}
                ".." if at == self.root => return Err("escape"),
                ".." => assert!(at.pop()),
                part => {
                    let here = at.join(part);
                    if let Ok(target) = fs::read_link(&here) {
                        links += 1;
                        if links > 40 {
                            return Err("loop");
                        }
                        rest = target.join(after);
                        continue;
                    }
                    at = here;
                }
            }
            rest = after;
        }
    }

    fn remove(&self, path: &Path) {
        let removed = match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            assert!(
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
                "{path:?}: {error}"
            );
        }
    }

    /// Path to description; files by content, mode and the first name of their inode.
    fn describe(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut inodes = BTreeMap::new();
        let mut todo = vec![self.root.clone()];
        while let Some(directory) = todo.pop() {
            for child in fs::read_dir(directory).unwrap() {
                let path = child.unwrap().path();
                let name = path.strip_prefix(&self.root).unwrap().display().to_string();
                let meta = fs::symlink_metadata(&path).unwrap();
                if meta.is_dir() {
                    found.insert(name, format!("directory {:o}", meta.mode() & 0o7777));
                    todo.push(path);
                } else if meta.is_symlink() {
                    found.insert(name, format!("link to {}", fs::read_link(path).unwrap().display()));
                } else {
                    let text = format!("{} {:o}", fs::read_to_string(&path).unwrap(), meta.mode() & 0o7777);
                    found.insert(name.clone(), text);
                    inodes.entry(meta.ino()).or_insert_with(Vec::new).push(name);
                }
            }
        }
        for mut names in inodes.into_values() {
            names.sort();
            for name in &names {
                found.get_mut(name).unwrap().push_str(&format!(" as {}", names[0]));
            }
        }
        found
    }
}

fn describe(cache: &Cache, tree: &Tree) -> BTreeMap<String, String> {
    let describe = |path: &str, kind: &Kind, mode: u32| match kind {
        Kind::Directory => format!("directory {mode:o}"),
        Kind::Symlink(target) => format!("link to {}", String::from_utf8_lossy(target)),
        Kind::File(_) => format!("{} {mode:o} as {path}", String::from_utf8(cache.read(tree, path)).unwrap()),
        Kind::HardLink(to) => format!("{} {mode:o} as {to}", String::from_utf8(cache.read(tree, path)).unwrap()),
        other => panic!("{other:?}"),
    };
    tree.iter()
        .map(|(path, node)| (path.to_string(), describe(&path.to_string(), &node.kind, node.meta.mode)))
        .collect()
}

#[test]
fn flattening_equals_applying_to_a_real_directory() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 1..=600u64 {
        let layers = layers(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let cache = Cache::new();
        let root = cache.directory.path().join("root");
        fs::create_dir(&root).unwrap();
        let reference = Reference { root };
        let applied = layers.iter().try_for_each(|layer| reference.apply(layer));
        let archives: Vec<_> = layers.iter().map(|layer| archive(layer)).collect();
        match (cache.tree(&archives), applied) {
            (Ok(tree), Ok(())) => {
                accepted += 1;
                assert_eq!(describe(&cache, &tree), reference.describe(), "seed {seed}: {layers:#?}");
            }
            (Err(_), Err(_)) => refused += 1,
            (got, want) => panic!("seed {seed}: {got:?} instead of {want:?}: {layers:#?}"),
        }
    }
    assert!(
        accepted > 300 && refused > 50,
        "the trees are too tame or too wild: {accepted} accepted, {refused} refused"
    );
}
