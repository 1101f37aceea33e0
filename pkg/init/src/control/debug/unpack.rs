//! Unpacks what a caller brings: a cpio archive (newc: the kernel's `buffer-format.rst`), read from a pipe and into a directory.
//!
//! Not a byte more is read than the archive has: what follows is the program's input. Names are looked up by the kernel below the
//! directory and without following a link (`openat2`), so no entry reaches anything else, whatever its name and whatever
//! came before it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};

/// Bytes of a header.
const HEADER: usize = 110;
/// Bytes of a name or a link's target at most, with the NUL.
const PATH: u32 = 4096;
/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Unpacks an archive below a directory, but for entries at or below its directories `kept`.
pub fn unpack(archive: impl Read, root: BorrowedFd<'_>, kept: &[&str]) -> io::Result<()> {
    let mut archive = Archive { from: archive, at: 0 };
    let mut place = Place { root, links: BTreeMap::new() };
    while let Some((entry, name)) = archive.entry()? {
        let first = name.split(|byte| *byte == b'/').find(|part| !matches!(*part, [] | b"."));
        let unpacked = match first {
            Some(first) if !kept.iter().any(|kept| kept.as_bytes() == first) => place.put(&entry, &name, &mut archive),
            _ => archive.data(entry.size, |_| Ok(())),
        };
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("unpacking `{}`: {error}", String::from_utf8_lossy(&name)))
        };
        unpacked.map_err(named)?;
    }
    Ok(())
}

/// The numbers of an entry.
struct Entry {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    size: u32,
    major: u32,
    minor: u32,
    name: u32,
}

impl Entry {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let digits = bytes.strip_prefix(b"070701")?;
        let number = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let numbers: Vec<u32> = digits.chunks_exact(8).map(number).collect::<Option<_>>()?;
        let [ino, mode, uid, gid, nlink, _, size, _, _, major, minor, name, _] = *numbers.as_slice() else {
            return None;
        };
        Some(Self { ino, mode, uid, gid, nlink, size, major, minor, name })
    }
}

/// An archive on its way.
struct Archive<R> {
    from: R,
    at: u64,
}

impl<R: Read> Archive<R> {
    fn exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.from.read_exact(bytes)
    }

    fn bytes(&mut self, count: u32) -> io::Result<Vec<u8>> {
        if count > PATH {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a name or target of {count} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Skips to the next multiple of four.
    fn align(&mut self) -> io::Result<()> {
        while !self.at.is_multiple_of(4) {
            self.exact(&mut [0])?;
        }
        Ok(())
    }

    /// The next entry, with its name; none at the end.
    fn entry(&mut self) -> io::Result<Option<(Entry, Vec<u8>)>> {
        self.align()?;
        let mut bytes = [0; HEADER];
        self.exact(&mut bytes)?;
        let entry =
            Entry::parse(&bytes).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "what came is no archive"))?;
        let mut name = self.bytes(entry.name)?;
        name.pop();
        self.align()?;
        Ok((name != TRAILER).then_some((entry, name)))
    }

    /// An entry's data, piece by piece.
    fn data(&mut self, size: u32, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let mut left = usize::try_from(size).unwrap_or(usize::MAX);
        while left > 0 {
            let count = left.min(buffer.len());
            let piece = buffer.get_mut(..count).unwrap_or_default();
            self.exact(piece)?;
            each(piece)?;
            left -= count;
        }
        Ok(())
    }
}

/// Where it is unpacked.
struct Place<'a> {
    root: BorrowedFd<'a>,
    /// Files with several names, by number: the first of them.
    links: BTreeMap<u32, Vec<u8>>,
}

impl Place<'_> {
    /// The directory that a name is in, and the rest of the name.
    fn parent<'n>(&self, name: &'n [u8]) -> io::Result<(OwnedFd, &'n [u8])> {
        let (parent, last) = match name.iter().rposition(|byte| *byte == b'/') {
            Some(at) => name.split_at(at),
            None => (&b"."[..], name),
        };
        let last = last.strip_prefix(b"/").unwrap_or(last);
        if matches!(last, [] | b"." | b"..") {
            return Err(ErrorKind::InvalidFilename.into());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok((rustix::fs::openat2(self.root, parent, flags, Mode::empty(), resolve)?, last))
    }

    fn put(&mut self, entry: &Entry, name: &[u8], archive: &mut Archive<impl Read>) -> io::Result<()> {
        let (parent, last) = self.parent(name)?;
        let (owner, group) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        match FileType::from_raw_mode(entry.mode) {
            FileType::RegularFile => {
                let Some(file) = self.file(entry, name, &parent, last)? else { return Ok(()) };
                let mut file = File::from(file);
                archive.data(entry.size, |piece| file.write_all(piece))?;
                // In this order: a new owner takes the set-user-ID bit away.
                rustix::fs::fchown(&file, owner, group)?;
                rustix::fs::fchmod(&file, mode)?;
            }
            FileType::Directory => {
                match rustix::fs::mkdirat(&parent, last, Mode::RWXU) {
                    Err(rustix::io::Errno::EXIST) | Ok(()) => {}
                    Err(error) => return Err(error.into()),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = rustix::fs::openat(&parent, last, flags, Mode::empty())?;
                rustix::fs::fchown(&directory, owner, group)?;
                rustix::fs::fchmod(&directory, mode)?;
            }
            FileType::Symlink => {
                let target = archive.bytes(entry.size)?;
                rustix::fs::symlinkat(target, &parent, last)?;
                rustix::fs::chownat(&parent, last, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
                let device = rustix::fs::makedev(entry.major, entry.minor);
                rustix::fs::mknodat(&parent, last, kind, mode, device)?;
                rustix::fs::chownat(&parent, last, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// The file of an entry, open for its data; none when it is another name of one that is there, and brings no data.
    fn file(&mut self, entry: &Entry, name: &[u8], parent: &OwnedFd, last: &[u8]) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = OFlags::CREATE | OFlags::EXCL;
        let linked = if entry.nlink > 1 { self.links.get(&entry.ino) } else { None };
        if let Some(first) = linked {
            let (directory, first) = self.parent(first)?;
            rustix::fs::linkat(directory, first, parent, last, AtFlags::empty())?;
            let brings =
                (entry.size > 0).then(|| rustix::fs::openat(parent, last, flags | OFlags::TRUNC, Mode::empty()));
            return Ok(brings.transpose()?);
        }
        let file = rustix::fs::openat(parent, last, flags | new, Mode::RUSR | Mode::WUSR)?;
        if entry.nlink > 1 {
            self.links.insert(entry.ino, name.to_owned());
        }
        Ok(Some(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    const FILE: u32 = 0o100_644;
    const LINK: u32 = 0o120_777;

    /// An entry, with number and count of names.
    fn entry(name: &str, mode: u32, (ino, nlink): (u32, u32), data: &str) -> Vec<u8> {
        let owner = fs::metadata("/proc/self").unwrap();
        let mut bytes = b"070701".to_vec();
        let name_size = u32::try_from(name.len() + 1).unwrap();
        let size = u32::try_from(data.len()).unwrap();
        for number in [ino, mode, owner.uid(), owner.gid(), nlink, 0, size, 0, 0, 0, 0, name_size, 0] {
            bytes.extend(format!("{number:08x}").bytes());
        }
        for part in [&format!("{name}\0"), data] {
            bytes.extend(part.bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn plain(name: &str, mode: u32, data: &str) -> Vec<u8> {
        entry(name, mode, (1, 1), data)
    }

    fn unpack_into(dir: &Path, entries: &[Vec<u8>], rest: &[u8]) -> io::Result<Vec<u8>> {
        let bytes = [&entries.concat(), &plain("TRAILER!!!", 0, ""), rest].concat();
        let mut bytes = &bytes[..];
        let root = File::open(dir).unwrap();
        unpack(&mut bytes, root.as_fd(), &["dev"])?;
        Ok(bytes.to_vec())
    }

    #[test]
    fn a_tree_is_unpacked_and_what_follows_it_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let rest = unpack_into(
            dir.path(),
            &[
                plain(".", 0o040_755, ""),
                plain("bin", 0o040_750, ""),
                plain("bin/sh", 0o104_755, "#!"),
                entry("bin/a", FILE, (7, 2), ""),
                entry("bin/b", FILE, (7, 2), "twice"),
                plain("bin/link", LINK, "/etc/passwd"),
                plain("fifo", 0o010_600, ""),
                plain("dev", LINK, "/"),
                plain("dev/null", FILE, "no"),
            ],
            b"input",
        );
        assert_eq!(rest.unwrap(), b"input");
        let mode = |name: &str| fs::symlink_metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!((mode("bin"), mode("bin/sh"), mode("fifo")), (0o040_750, 0o104_755, 0o010_600));
        assert_eq!(fs::read_to_string(dir.path().join("bin/a")).unwrap(), "twice");
        assert_eq!(fs::metadata(dir.path().join("bin/b")).unwrap().nlink(), 2);
        assert_eq!(fs::read_link(dir.path().join("bin/link")).unwrap(), Path::new("/etc/passwd"));
        assert!(!dir.path().join("dev").exists());
    }

    #[test]
    fn nothing_leaves_the_directory() {
        let outer = tempfile::tempdir().unwrap();
        let out = outer.path().to_string_lossy();
        for entries in [
            vec![plain("../x", FILE, "x")],
            vec![plain(&format!("{out}/x"), FILE, "x")],
            vec![plain("a", LINK, ".."), plain("a/x", FILE, "x")],
            vec![plain("a", LINK, &out), plain("a", 0o040_755, "")],
            vec![plain("x", LINK, &format!("{out}/x")), plain("x", FILE, "x")],
            vec![plain("x", LINK, &format!("{out}/y")), entry("a", FILE, (7, 2), ""), entry("x", FILE, (7, 2), "x")],
            vec![plain("a/..", 0o040_755, "")],
            vec![plain("..", 0o040_777, "")],
        ] {
            let dir = outer.path().join("root");
            fs::create_dir(&dir).unwrap();
            let name = String::from_utf8_lossy(&entries.concat()).into_owned();
            assert!(unpack_into(&dir, &entries, b"").is_err(), "{name}");
            assert_eq!(fs::read_dir(&*out).unwrap().count(), 1, "{name}");
            fs::remove_dir_all(&dir).unwrap();
        }
    }

    #[test]
    fn whatever_comes_is_borne() {
        let good = [plain("d", 0o040_755, ""), plain("d/f", FILE, "data"), plain("l", LINK, "d")].concat();
        for at in 0..good.len() {
            let dir = tempfile::tempdir().unwrap();
            let root = File::open(dir.path()).unwrap();
            unpack(&good[..at], root.as_fd(), &[]).unwrap_err();
            for byte in [b'0', b'f', b'+', 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                // No archive of 4 GiB comes of it: the bytes end before.
                let _ = unpack(&bad[..], root.as_fd(), &[]);
            }
        }
    }
}
