//! A directory, compared with the machine that it came from.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use bootwright_oci::{Content, Kind, Metadata, TreePath};
use bootwright_rootfs::Machine;
use rustix::fs::makedev;

/// The directory holds exactly the machine's tree. What the kernel shows of an image directly (`is_mounted`) has right link
/// counts of directories too.
pub fn assert_same_tree(machine: &Machine, directory: &Path, is_mounted: bool) {
    let mut inodes: BTreeMap<&TreePath, Vec<u64>> = BTreeMap::new();
    for (at, placed) in &machine.tree {
        let (holder, node) = match &placed.node.kind {
            Kind::HardLink(target) => (target, &machine.tree[target].node),
            _ => (at, &placed.node),
        };
        let file = directory.join(OsStr::from_bytes(at.as_bytes()));
        let found = fs::symlink_metadata(&file).unwrap_or_else(|e| panic!("{at}: {e}"));
        inodes.entry(holder).or_default().push(found.ino());
        let Metadata { mode, uid, gid, mtime, xattrs } = &node.meta;
        assert_eq!((found.uid(), found.gid()), (*uid, *gid), "{at}");
        assert_eq!(found.mtime(), (*mtime).clamp(0, u32::MAX.into()), "{at}");
        let kind = found.file_type();
        if !kind.is_symlink() {
            assert_eq!(found.mode() & 0o7777, *mode, "{at}");
        }
        match &node.kind {
            Kind::Directory => {
                assert!(kind.is_dir(), "{at}");
                let is_below = |(other, p): (&TreePath, &bootwright_rootfs::Placed)| {
                    p.node.kind == Kind::Directory && other.parent().as_ref() == Some(at)
                };
                let below = machine.tree.iter().filter(|entry| is_below(*entry)).count() as u64;
                assert!(!is_mounted || found.nlink() == 2 + below, "{at}: {} links", found.nlink());
            }
            Kind::File(content) => {
                assert!(kind.is_file() && found.len() == content.size(), "{at}");
                let Content::Inline(bytes) = content else { panic!("{at}: the test knows inline content only") };
                assert!(fs::read(&file).unwrap() == bytes[..], "{at}");
            }
            Kind::Symlink(target) => {
                assert_eq!(fs::read_link(&file).unwrap().as_os_str().as_bytes(), target, "{at}");
            }
            Kind::CharDevice { major, minor } => {
                assert!(kind.is_char_device(), "{at}");
                assert_eq!(found.rdev(), makedev(*major, *minor), "{at}");
            }
            // unsquashfs knows eight bits of each.
            Kind::BlockDevice { major, minor } => {
                assert!(kind.is_block_device(), "{at}");
                assert!(!is_mounted || found.rdev() == makedev(*major, *minor), "{at}");
            }
            Kind::Fifo => assert!(kind.is_fifo(), "{at}"),
            Kind::HardLink(_) => unreachable!("resolved above"),
        }
        assert_eq!(&attributes(&file), xattrs, "{at}");
    }
    for (holder, inodes) in inodes {
        assert!(inodes.iter().all(|ino| *ino == inodes[0]), "{holder} is one file");
        if machine.tree[holder].node.kind != Kind::Directory {
            let found = fs::symlink_metadata(directory.join(OsStr::from_bytes(holder.as_bytes()))).unwrap();
            assert_eq!(found.nlink(), inodes.len() as u64, "{holder}");
        }
    }
    let root = usize::from(machine.tree.contains_key(&TreePath::default()));
    assert_eq!(count(directory), machine.tree.len() - root, "nothing else is there");
}

fn count(directory: &Path) -> usize {
    let below = |entry: fs::DirEntry| if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 0 };
    fs::read_dir(directory).unwrap().map(|entry| 1 + below(entry.unwrap())).sum()
}

/// The extended attributes of a file, not of what it points to.
fn attributes(file: &PathBuf) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(file, &mut names[..]).unwrap();
    let names = names[..len].split(|b| *b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::lgetxattr(file, OsStr::from_bytes(name), &mut value[..]).unwrap();
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect()
}
