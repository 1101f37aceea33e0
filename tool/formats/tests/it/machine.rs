//! Machines built by hand, and a store that counts what is opened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bootwright_formats::{Compression, Error, Format, Options, Output, Report, write};
use bootwright_oci::{Content, Derived, Kind, Metadata, Node, Platform, ReadContent, Silent, TreePath};
use bootwright_rootfs::{Boot, Component, Machine, Placed, Root};
use tempfile::TempDir;

/// A path from bytes.
pub fn path(path: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(path).unwrap()
}

/// A machine on its way.
pub struct Builder(pub Machine);

impl Builder {
    pub fn new(components: &[(&str, &str)]) -> Self {
        let component = |(location, source): &(&str, &str)| Component {
            location: (*location).to_owned(),
            source: (*source).to_owned(),
            name: format!("{location} name"),
        };
        Self(Machine {
            platform: Platform::linux("amd64"),
            components: components.iter().map(component).collect(),
            tree: BTreeMap::new(),
            boot: Boot {
                kernel: Some(Content::inline(*b"\x7fELF a kernel")),
                cmdline: "console=ttyS0".to_owned(),
                ..Boot::default()
            },
            native_init: true,
            early: None,
            root: Root::default(),
            kernel_floor_mib: 40,
        })
    }

    /// Puts a node, and the directories above it that are not there yet.
    pub fn node(
        mut self,
        component: usize,
        at: impl AsRef<[u8]>,
        kind: Kind,
        change: impl FnOnce(&mut Metadata),
    ) -> Self {
        let at = path(at);
        let mut parent = at.parent();
        while let Some(directory) = parent.filter(|p| !p.is_root()) {
            parent = directory.parent();
            let node = Node { meta: Metadata { mode: 0o755, mtime: 5, ..Metadata::default() }, kind: Kind::Directory };
            self.0.tree.entry(directory).or_insert(Placed { node, component });
        }
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        let mut meta = Metadata { mode, mtime: 1_000_000_000, ..Metadata::default() };
        change(&mut meta);
        self.0.tree.insert(at, Placed { node: Node { meta, kind }, component });
        self
    }

    pub fn file(self, component: usize, at: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Self {
        self.node(component, at, Kind::File(Content::inline(bytes.as_ref())), |_| {})
    }

    pub fn link(self, component: usize, at: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.node(component, at, Kind::HardLink(path(target)), |_| {})
    }
}

/// A machine with one of everything.
pub fn everything() -> Machine {
    let long = "long-".repeat(24);
    let names = [
        ("kernel", "kernel:6.1"),
        ("init[0]", "init:1"),
        ("init[1]", "empty:1"),
        ("onboot[0]", "dhcp:1"),
        ("services[0]", "web:1"),
        ("files[0]", "linuxkit.files"),
    ];
    Builder::new(&names)
        .file(0, "lib/modules/6.1/virtio.ko", [7; 5000])
        .node(1, "", Kind::Directory, |m| m.mode = 0o711)
        .file(1, "init", "#!init")
        .file(1, "bin/busybox", [1, 2, 3].repeat(1000))
        .link(1, "bin/ls", "bin/busybox")
        .link(1, "bin/cat", "bin/busybox")
        .node(1, "bin/su", Kind::File(Content::inline(*b"su")), |m| m.mode = 0o4755)
        .node(1, "tmp", Kind::Directory, |m| m.mode = 0o1777)
        .node(1, "bin/sh", Kind::Symlink(b"/bin/busybox".to_vec()), |_| {})
        .node(1, "dev/console", Kind::CharDevice { major: 5, minor: 1 }, |m| m.mode = 0o600)
        .node(1, "dev/vda", Kind::BlockDevice { major: 254, minor: 300 }, |_| {})
        .node(1, "run/pipe", Kind::Fifo, |_| {})
        .file(3, "containers/onboot/000-dhcp/config.json", "{}")
        .file(3, "containers/onboot/000-dhcp/rootfs/etc/empty", "")
        .link(3, "containers/onboot/000-dhcp/rootfs/etc/also-empty", "containers/onboot/000-dhcp/rootfs/etc/empty")
        .node(4, "containers/services/web/rootfs/bin/ping", Kind::File(Content::inline(*b"ping")), |m| {
            m.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, b'\n', 0xff]);
            m.xattrs.insert(b"user.a=b%c".to_vec(), b"x".to_vec());
        })
        .node(4, "containers/services/web/rootfs/old", Kind::File(Content::inline(*b"old")), |m| m.mtime = -86_400)
        .node(4, "containers/services/web/rootfs/zero", Kind::File(Content::inline(*b"zero")), |m| m.mtime = 0)
        .node(4, "containers/services/web/rootfs/far", Kind::File(Content::inline(*b"far")), |m| m.mtime = 1 << 33)
        .node(4, "containers/services/web/rootfs/big-id", Kind::File(Content::inline(*b"id")), |m| {
            (m.uid, m.gid) = (3_000_000, u32::MAX - 1);
        })
        .file(4, format!("containers/services/web/rootfs/{long}/{long}"), "deep")
        .node(4, "containers/services/web/rootfs/link", Kind::Symlink(long.clone().into_bytes()), |_| {})
        .file(4, b"containers/services/web/rootfs/latin-\xe4", "latin")
        .file(4, "containers/services/web/rootfs/utf-\u{e4}", "utf")
        .link(4, format!("containers/services/web/rootfs/{long}-a"), "containers/services/web/rootfs/zero")
        .file(5, "etc/motd", "hello\n")
        .0
}

/// Reads inline bytes and host files, and counts.
#[derive(Default)]
pub struct Store {
    pub opened: AtomicUsize,
    /// Reads come in pieces of this size, if it is not zero.
    pub piece: usize,
}

impl ReadContent for Store {
    fn open(&self, content: &Content) -> io::Result<Box<dyn Read + Send + '_>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let input: Box<dyn Read + Send> = match content {
            Content::Inline(bytes) => Box::new(Cursor::new(bytes.clone())),
            Content::Host { path, .. } => Box::new(File::open(path)?),
            Content::Layer { .. } => return Err(io::Error::other("no layers here")),
        };
        let input = input.take(content.size());
        Ok(if self.piece == 0 { Box::new(input) } else { Box::new(Pieces(input, self.piece)) })
    }
}

struct Pieces<R>(R, usize);

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = bytes.len().min(self.1);
        self.0.read(&mut bytes[..most])
    }
}

/// A place to build in.
pub struct Place {
    pub dir: TempDir,
    pub store: Store,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        Self { dir, store: Store::default() }
    }

    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    pub fn output(&self) -> Output {
        Output::Directory { directory: self.out(), name: "m".to_owned() }
    }

    pub fn derived(&self) -> Derived {
        Derived::new(self.dir.path().join("cache"))
    }

    pub fn opened(&self) -> usize {
        self.store.opened.swap(0, Ordering::SeqCst)
    }

    pub fn build(&self, machine: &Machine, formats: &[Format], options: &Options) -> Result<Report, Error> {
        write(machine, formats, &self.output(), options, &self.store, &self.derived(), &Silent)
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.out().join(file)).unwrap()
    }

    /// Names in the output directory.
    pub fn listing(&self) -> Vec<String> {
        names(&self.out())
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub fn with(compression: Compression) -> Options {
    Options { compression, ..Options::default() }
}
