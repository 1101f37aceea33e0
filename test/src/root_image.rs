//! Machines with a root image, put together by hand: their tree comes from the tool as a tar, and everything else is made by
//! Debian's `sqfstar`, `mkfs.erofs`, `veritysetup` and `cpio`, and by the few bytes written here, so that no mistake of ours is
//! shared by writer and reader.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootwright_machine::Artefact;
use sha2::{Digest, Sha256};

use crate::machine::Boot;
use crate::{Built, flip, initrd, run};

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Where a partition begins.
const PARTITION: u64 = 1 << 20;
/// How a mark begins: magic, version, 4 zeros.
const MARK: &[u8; 24] = b"bootwright root\0\x01\0\0\0\0\0\0\0";
/// Offset of the name in it.
const NAME: usize = 40;

/// A machine's tar, unpacked.
#[derive(Debug)]
pub struct Parts {
    dir: PathBuf,
    tar: PathBuf,
    tree: PathBuf,
}

impl Parts {
    /// Unpacks a tar into a directory, where all that is made of it will lie as well.
    pub fn of(tar: PathBuf, dir: &Path) -> Self {
        let tree = dir.join("tree");
        fs::create_dir(&tree).expect("the directory is ours");
        run(Command::new("tar").arg("-xf").arg(&tar).arg("--no-same-owner").arg("-C").arg(&tree));
        Self { dir: dir.to_owned(), tar, tree }
    }

    /// A root image with a squashfs.
    pub fn squashfs(&self, name: &str) -> RootImage {
        let path = self.dir.join(name);
        let tar = File::open(&self.tar).expect("the tool made it");
        let packing = ["-comp", "gzip", "-no-progress", "-quiet"];
        run(Command::new("sqfstar").args(packing).arg(&path).arg("boot").stdin(tar));
        RootImage::marked(path)
    }

    /// A root image with an EROFS.
    pub fn erofs(&self, name: &str) -> RootImage {
        let path = self.dir.join(name);
        let exclude = "--exclude-path=boot";
        let mut pack = Command::new("mkfs.erofs");
        pack.args(["-zlz4", "--all-root", exclude]).arg(&path).arg(&self.tree);
        run(&mut pack);
        RootImage::marked(path)
    }

    /// An initrd with early as `/init`, the machine's modules, and these files.
    pub fn initrd(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        // Not in the tree: no root has it.
        let built = Built::example("minimal");
        let early = initrd::early(built.artefact().initrd().expect("it has one"));
        self.initrd_of(name, &[&[("init", early.as_slice())], files].concat())
    }

    /// An initrd with the machine's modules and these files, executable all of them.
    pub fn initrd_of(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let staging = self.dir.join(format!("{name}.d"));
        fs::create_dir(&staging).expect("the directory is ours");
        for directory in ["proc", "sys", "dev", "root"] {
            fs::create_dir(staging.join(directory)).expect("the directory is ours");
        }
        run(Command::new("cp").arg("-r").arg(self.tree.join("lib")).arg(staging.join("lib")));
        for (path, bytes) in files {
            let path = staging.join(path);
            fs::create_dir_all(path.parent().expect("it is below")).expect("the directory is ours");
            fs::write(&path, bytes).expect("room on the disk");
            run(Command::new("chmod").arg("755").arg(&path));
        }
        let path = self.dir.join(name);
        let out = File::create(&path).expect("the directory is ours");
        let pack = "find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0";
        run(Command::new("sh").args(["-c", pack]).current_dir(&staging).stdout(out));
        path
    }

    /// A boot of the machine's kernel with an initrd and a few words more on its command line.
    pub fn boot(&self, initrd: &Path, words: &str) -> Boot {
        let kernel = self.tree.join("boot/kernel");
        let cmdline = format!("console=ttyS0 quiet panic=-1 {words}");
        Boot::new(Artefact::direct(kernel, Some(initrd.to_owned()), &cmdline)).memory(256)
    }
}

/// A root image: a filesystem, its mark, and what is appended.
#[derive(Debug)]
pub struct RootImage {
    /// Its file.
    pub path: PathBuf,
    /// Its name.
    pub id: String,
    /// Bytes of the filesystem; the mark follows.
    pub filesystem: u64,
}

impl RootImage {
    /// Appends the mark to a filesystem.
    fn marked(path: PathBuf) -> Self {
        let mut filesystem = fs::read(&path).expect("it was made");
        filesystem.resize(filesystem.len().next_multiple_of(BLOCK as usize), 0);
        let id = hex(&Sha256::digest(&filesystem)[..16]);
        let image = Self { path, id, filesystem: filesystem.len() as u64 };
        fs::write(&image.path, filesystem).expect("room on the disk");
        image.mark();
        image
    }

    /// One that the tool made.
    pub fn read(path: PathBuf) -> Self {
        let all = fs::read(&path).expect("the tool made it");
        let blocks = all.chunks_exact(BLOCK as usize);
        let mark = blocks.enumerate().find(|(_, block)| block.starts_with(MARK));
        let (blocks, mark) = mark.unwrap_or_else(|| panic!("there is no mark in {}", path.display()));
        let id = hex(&mark[NAME..][..16]);
        Self { path, id, filesystem: blocks as u64 * BLOCK }
    }

    /// The one that an initrd carries, as a file beside it.
    pub fn of_initrd(initrd: &Path) -> Self {
        let all = fs::read(initrd).expect("the tool made it");
        let path = initrd.with_extension("root");
        fs::write(&path, initrd::stored(&all, "usr/lib/bootwright/root.img")).expect("room on the disk");
        Self::read(path)
    }

    /// Writes the mark: how it begins, length of the filesystem, length of the hash tree, name.
    fn mark(&self) {
        let mut mark = MARK.to_vec();
        mark.extend(self.filesystem.to_le_bytes());
        mark.extend(0_u64.to_le_bytes());
        mark.extend((0..16).map(|i| u8::from_str_radix(&self.id[2 * i..][..2], 16).expect("hex digits")));
        mark.resize(BLOCK as usize, 0);
        self.write(self.filesystem, &mark);
    }

    /// The same filesystem under another name.
    pub fn renamed(&self, file: &str, id: &str) -> Self {
        let image = Self { id: id.into(), ..self.copied(file) };
        image.mark();
        image
    }

    /// A copy beside it.
    pub fn copied(&self, file: &str) -> Self {
        let path = self.path.with_file_name(file);
        fs::copy(&self.path, &path).expect("room on the disk");
        Self { path, id: self.id.clone(), filesystem: self.filesystem }
    }

    /// Appends superblock and hash tree of dm-verity and returns the root hash.
    pub fn verity(&self) -> String {
        let offset = format!("--hash-offset={}", self.superblock());
        root_hash(&run(self.veritysetup("format", &self.path).arg(offset)))
    }

    /// The root hash that `veritysetup` computes without a salt, into a file beside it.
    pub fn root_hash(&self) -> String {
        root_hash(&run(self.veritysetup("format", &self.path.with_extension("tree")).args(["--salt", "-"])))
    }

    /// Whether `veritysetup` agrees that this is its root hash.
    pub fn is_verified(&self, root_hash: &str) -> bool {
        let mut verify = self.veritysetup("verify", &self.path);
        verify.arg(root_hash).arg(format!("--hash-offset={}", self.superblock()));
        verify.output().expect("veritysetup is there").status.success()
    }

    /// `veritysetup` on filesystem and mark, with the tree in this file.
    fn veritysetup(&self, action: &str, tree: &Path) -> Command {
        let mut veritysetup = Command::new("veritysetup");
        veritysetup.arg(format!("--data-blocks={}", self.superblock() / BLOCK)).arg(action).arg(&self.path).arg(tree);
        veritysetup
    }

    /// Where the superblock of dm-verity lies; the hash tree follows, its root first.
    pub fn superblock(&self) -> u64 {
        self.filesystem + BLOCK
    }

    /// Changes one bit.
    pub fn flip(&self, at: u64) {
        flip(&self.path, at);
    }

    /// Where these bytes are stored.
    pub fn position(&self, bytes: &[u8]) -> u64 {
        let all = fs::read(&self.path).expect("it is ours");
        all.windows(bytes.len()).position(|window| window == bytes).expect("they do not compress") as u64
    }

    /// The block of a squashfs in which zstd has packed these bytes. Blocks, of data as of tables, are frames and lie end to end.
    pub fn packed(&self, bytes: &[u8]) -> Range<u64> {
        let all = fs::read(&self.path).expect("it is ours");
        let has = |frame: &[u8]| initrd::unpack(frame).windows(bytes.len()).any(|window| window == bytes);
        let (at, frame) = initrd::frames(&all).find(|(_, frame)| has(frame)).expect("they are in one block");
        at as u64..(at + frame.len()) as u64
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path).expect("it is ours");
        file.write_all_at(bytes, at).expect("room on the disk");
    }

    /// It as a disk of its own, for [`Boot::disk`].
    pub fn disk(&self) -> String {
        format!("file={},format=raw", self.path.display())
    }

    /// It as the first partition of a disk with an MBR.
    pub fn partition(&self, file: &str) -> String {
        let path = self.path.with_file_name(file);
        let mut disk = File::create(&path).expect("the directory is ours");
        let image = fs::read(&self.path).expect("it is ours");
        let mut head = vec![0; PARTITION as usize];
        // The first entry: type 83 (Linux), first sector and number of sectors in LBA; then the signature.
        head[446 + 4] = 0x83;
        head[446 + 8..][..4].copy_from_slice(&((PARTITION / 512) as u32).to_le_bytes());
        head[446 + 12..][..4].copy_from_slice(&((image.len() / 512) as u32).to_le_bytes());
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk.write_all(&head).and_then(|()| disk.write_all(&image)).expect("room on the disk");
        format!("file={},format=raw", path.display())
    }
}

fn root_hash(said: &[u8]) -> String {
    let said = str::from_utf8(said).expect("ASCII");
    let hash = said.lines().find_map(|line| line.strip_prefix("Root hash:")).expect("it says the root hash");
    hash.trim().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
