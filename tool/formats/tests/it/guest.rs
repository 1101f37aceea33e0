//! Machines that read what we wrote: QEMU with Debian's kernel, or with nothing but firmware.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tools::text;

/// Longest life of a machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Debian's cloud kernel, unpacked.
pub struct Kernel {
    root: PathBuf,
    release: String,
}

/// The kernel, from apt, once per checkout.
pub fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let depends = text("apt-cache", &["depends", "linux-image-cloud-amd64"], b"");
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).unwrap();
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
        if !root.exists() {
            let beside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let script = "cd \"$1\" && apt-get -qq download \"$2\" 2>apt.log && dpkg-deb -x *.deb root && rm *.deb";
            text("sh", &["-ec", script, "sh", beside.path().to_str().unwrap(), package], b"");
            // Another test process may have been faster.
            let _ = fs::rename(beside.path().join("root"), &root);
        }
        let release = package.strip_prefix("linux-image-").unwrap().to_owned();
        Kernel { root, release }
    })
}

impl Kernel {
    /// The bzImage.
    fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Paths of modules and of what they need, in the order in which they can be loaded.
    fn modules(&self, names: &[&str]) -> Vec<PathBuf> {
        let directory = self.root.join("lib/modules").join(&self.release);
        let mut all: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut pending = vec![directory.clone()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                let stem = entry.file_stem().unwrap().to_str().unwrap().replace('-', "_");
                match entry.extension() {
                    Some(extension) if extension == "ko" => drop(all.insert(stem, entry)),
                    _ if entry.is_dir() && !entry.is_symlink() => pending.push(entry),
                    _ => {}
                }
            }
        }
        let mut order = Vec::new();
        for name in names {
            self.with_needed(name, &all, &mut order);
        }
        order
    }

    fn with_needed(&self, name: &str, all: &BTreeMap<String, PathBuf>, order: &mut Vec<PathBuf>) {
        let path = &all[name];
        let depends = text("modinfo", &["-F", "depends", path.to_str().unwrap()], b"");
        for needed in depends.trim().split(',').filter(|needed| !needed.is_empty()) {
            self.with_needed(&needed.replace('-', "_"), all, order);
        }
        if !order.contains(path) {
            order.push(path.clone());
        }
    }

    /// Boots with disks `vda`, `vdb`, …, runs a shell script, and gives what it wrote to `/dev/out`.
    pub fn run(&self, disks: &[&Path], modules: &[&str], programs: &[&str], script: &str) -> Vec<u8> {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        for directory in ["bin", "dev", "proc", "sys", "mnt", "modules", "lib", "lib64"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for program in programs {
            // With its libraries: `name => path (address)`, or just the loader's path.
            let libraries = text("ldd", &[program], b"");
            let libraries = libraries.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
            for file in libraries.chain([*program]) {
                let to = root.join(&file[1..]);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(file, to).unwrap();
            }
        }
        let mut init = String::from("#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin:/usr/bin\n");
        init += "mount -t devtmpfs none /dev; mount -t proc none /proc; mount -t sysfs none /sys\n";
        init += "exec >/dev/ttyS0 2>&1\n";
        let needed = self.modules(&[&["virtio_pci", "virtio_blk"], modules].concat());
        for (index, module) in needed.iter().enumerate() {
            fs::copy(module, root.join(format!("modules/{index}.ko"))).unwrap();
            init += &format!("insmod /modules/{index}.ko\n");
        }
        let last = char::from(b'a' + disks.len() as u8);
        init += &format!("ln -s vd{last} /dev/out\n{script}\nsync\necho DONE\npoweroff -f\n");
        fs::write(root.join("init"), init).unwrap();
        text("chmod", &["755", root.join("init").to_str().unwrap()], b"");
        let initrd = place.path().join("initrd");
        let pack = "cd \"$1\" && find . | cpio -o -H newc --quiet >\"$2\"";
        text("sh", &["-ec", pack, "sh", root.to_str().unwrap(), initrd.to_str().unwrap()], b"");
        let out = place.path().join("out");
        fs::File::create(&out).unwrap().set_len(8 << 20).unwrap();

        let mut qemu = Qemu::new(256);
        qemu.command.arg("-kernel").arg(self.image()).arg("-initrd").arg(initrd);
        qemu.command.args(["-append", "console=ttyS0 panic=-1 quiet"]);
        for disk in disks {
            qemu = qemu.disk(disk, "virtio", true);
        }
        let console = qemu.disk(&out, "virtio", false).run(None);
        assert!(console.contains("DONE"), "{console}");
        fs::read(out).unwrap()
    }
}

/// A machine, not started yet, its serial port on standard output.
pub struct Qemu {
    command: Command,
    /// Where its firmware keeps variables: of another machine's it would take the order of boot.
    variables: Option<TempDir>,
}

impl Qemu {
    pub fn new(mib: u32) -> Self {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot"]);
        command.args(["-net", "none", "-m", &mib.to_string()]);
        Self { command, variables: None }
    }

    /// With a disk behind a bus: `virtio`, `ide`, or `usb`.
    pub fn disk(mut self, path: &Path, bus: &str, read_only: bool) -> Self {
        let read_only = if read_only { "on" } else { "off" };
        let file = format!("file={},format=raw,readonly={read_only}", path.display());
        if bus == "usb" {
            self.command.args(["-device", "qemu-xhci", "-device", "usb-storage,drive=stick"]);
            self.command.args(["-drive", &format!("{file},if=none,id=stick")]);
        } else {
            self.command.args(["-drive", &format!("{file},if={bus}")]);
        }
        self
    }

    pub fn cd(mut self, path: &Path) -> Self {
        self.command.args(["-drive", &format!("file={},format=raw,readonly=on,media=cdrom", path.display())]);
        self
    }

    /// With further arguments.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// With UEFI.
    pub fn uefi(mut self) -> Self {
        let place = tempfile::tempdir().unwrap();
        let variables = place.path().join("variables.fd");
        fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
        self.command.args(["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"]);
        self.command.args(["-drive", &format!("if=pflash,format=raw,file={}", variables.display())]);
        self.variables = Some(place);
        self
    }

    /// Starts it, waits until it ends or its console says something, ends it, and gives all that the console said.
    pub fn run(mut self, until: Option<&str>) -> String {
        let mut child = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        let end = Instant::now() + TIMEOUT;
        let mut console = String::new();
        while !until.is_some_and(|what| console.contains(what)) {
            match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => console += &String::from_utf8_lossy(&bytes),
                // It closed its console, or will never say it.
                Err(_) => break,
            }
        }
        if until.is_some() || Instant::now() >= end {
            let _ = child.kill();
        }
        child.wait().unwrap();
        drop(receiver);
        reader.join().unwrap();
        console
    }
}
