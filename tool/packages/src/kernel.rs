//! Kernel images, in the shape of LinuxKit's: `kernel` and `kernel.tar`, and beside them `config`, by which the builder knows
//! what is built in, and `vmlinux` where there is one. Recipe `debian` with `kernel: true` makes one of a linux-image package.
//!
//! Modules are stored uncompressed: a root is compressed as a whole, and twice costs both size and time. Debian ships no
//! `modules.dep` (its maintainer script runs depmod), so depmod runs here, on a copy, and what it writes joins the tar.

use std::fs;
use std::io::{self, BufWriter, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bootwright_oci::TreePath;

use crate::assembly::{Assembly, AssemblyError, Body, Bytes, Entries, Entry};
use crate::command::{CommandError, command, run};
use crate::debian::spool;
use crate::layer;

/// A kernel package that is none.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Not exactly one kernel.
    #[error("the packages hold {} kernels (`boot/vmlinuz-*`); a kernel image has one", .0.len())]
    Count(Vec<String>),
    /// A kernel without its modules.
    #[error("the packages hold no modules for kernel {0}")]
    NoModules(String),
    /// A module that cannot be decompressed.
    #[error("cannot decompress the module `{module}`")]
    Module {
        /// Its path.
        module: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// depmod.
    #[error("cannot list the dependencies of the modules of kernel {release}")]
    Depmod {
        /// Kernel release.
        release: String,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// A scratch file.
    #[error("cannot prepare the modules of kernel {release} in `{scratch}`")]
    Io {
        /// Kernel release.
        release: String,
        /// Where.
        scratch: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Paths that do not fit.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
}

impl KernelError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Depmod { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// What a kernel image is made of, whether it was packaged by Debian or built here.
#[derive(Debug)]
pub(crate) struct Parts {
    /// As `uname -r` says it.
    pub(crate) release: String,
    /// What firmware and loaders start.
    pub(crate) kernel: Bytes,
    /// The ELF file, which a hypervisor starts directly.
    pub(crate) vmlinux: Option<Bytes>,
    /// The configuration it was built with.
    pub(crate) config: Option<Bytes>,
    /// The files of `lib/modules/RELEASE` by their path in it, before depmod; modules uncompressed.
    pub(crate) modules: Entries,
}

/// Makes a kernel image of an unpacked linux-image package, in the layer begun last.
pub(crate) fn shape(unpacked: &Assembly, epoch: i64, scratch: &Path, shaped: &mut Assembly) -> Result<(), KernelError> {
    let files = unpacked.merged();
    let kernels: Vec<(String, &Bytes)> = files
        .iter()
        .filter_map(|(path, entry)| match (&entry.body, path.to_string().strip_prefix("boot/vmlinuz-")) {
            (Body::File(bytes), Some(release)) => Some((release.to_owned(), bytes)),
            _ => None,
        })
        .collect();
    let [(release, kernel)] = &kernels[..] else {
        return Err(KernelError::Count(kernels.into_iter().map(|(release, _)| release).collect()));
    };
    let modules = modules(files, release, scratch)?;
    if !modules.keys().any(|path| path.as_bytes().ends_with(b".ko")) {
        return Err(KernelError::NoModules(release.clone()));
    }
    let config = files.iter().find_map(|(path, entry)| match &entry.body {
        Body::File(bytes) if path.to_string() == format!("boot/config-{release}") => Some(bytes.clone()),
        _ => None,
    });
    let parts = Parts { release: release.clone(), kernel: (*kernel).clone(), vmlinux: None, config, modules };
    image(parts, epoch, scratch, shaped)
}

/// Lays a kernel image into the layer begun last.
pub(crate) fn image(parts: Parts, epoch: i64, scratch: &Path, shaped: &mut Assembly) -> Result<(), KernelError> {
    let release = &parts.release;
    let io = |source| KernelError::Io { release: release.clone(), scratch: scratch.to_owned(), source };
    let tar = kernel_tar(parts.modules, release, epoch, scratch)?;
    let out = BufWriter::new(tempfile::tempfile_in(scratch).map_err(io)?);
    let file = layer::write_tar(&tar, out).map_err(io)?.into_inner().map_err(|e| io(e.into_error()))?;
    let len = file.metadata().map_err(io)?.len();
    let tar = Bytes::Range { file: file.into(), offset: 0, len };
    let members = [
        ("kernel", Some(parts.kernel)),
        ("kernel.tar", Some(tar)),
        ("vmlinux", parts.vmlinux),
        ("config", parts.config),
    ];
    for (name, bytes) in members {
        if let Some(bytes) = bytes {
            shaped.insert(&TreePath::new(name).expect("a plain name"), Entry::file(bytes, 0o644, epoch))?;
        }
    }
    Ok(())
}

/// The module directory's files by their path in it, modules decompressed; no links to where the kernel was built.
fn modules(files: &Entries, release: &str, scratch: &Path) -> Result<Entries, KernelError> {
    let mut out = Entries::new();
    for (path, entry) in files {
        let text = path.to_string();
        let text = text.strip_prefix("usr/").unwrap_or(&text);
        let Some(inner) = text.strip_prefix(&format!("lib/modules/{release}/")) else { continue };
        let Body::File(bytes) = &entry.body else { continue };
        let (name, bytes) = decompressed(path, inner, bytes, scratch)?;
        let inner = TreePath::new(name).expect("part of a path");
        out.insert(inner, Entry::file(bytes, 0o644, entry.mtime));
    }
    Ok(out)
}

fn decompressed(path: &TreePath, inner: &str, bytes: &Bytes, scratch: &Path) -> Result<(String, Bytes), KernelError> {
    let io = |source| KernelError::Module { module: path.clone(), source };
    if let Some(name) = inner.strip_suffix(".ko.zst") {
        let plain = spool(scratch, &mut zstd::Decoder::new(bytes.open()).map_err(io)?).map_err(io)?;
        return Ok((format!("{name}.ko"), plain));
    }
    if let Some(name) = inner.strip_suffix(".ko.gz") {
        let plain = spool(scratch, &mut flate2::read::GzDecoder::new(bytes.open())).map_err(io)?;
        return Ok((format!("{name}.ko"), plain));
    }
    if let Some(name) = inner.strip_suffix(".ko.xz") {
        let plain = spool(scratch, &mut lzma_rust2::XzReader::new(bytes.open(), true)).map_err(io)?;
        return Ok((format!("{name}.ko"), plain));
    }
    Ok((inner.to_owned(), bytes.clone()))
}

/// The tree of `kernel.tar`: the modules and what depmod says about them.
fn kernel_tar(modules: Entries, release: &str, epoch: i64, scratch: &Path) -> Result<Entries, KernelError> {
    let io = |source| KernelError::Io { release: release.to_owned(), scratch: scratch.to_owned(), source };
    let depmod_error = |source| KernelError::Depmod { release: release.to_owned(), source };
    let base = tempfile::tempdir_in(scratch).map_err(io)?;
    let directory = base.path().join("lib/modules").join(release);
    for (path, entry) in &modules {
        let Body::File(bytes) = &entry.body else { continue };
        let file = directory.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        fs::create_dir_all(file.parent().unwrap_or(&directory)).map_err(io)?;
        io::copy(&mut bytes.open(), &mut fs::File::create(&file).map_err(io)?).map_err(io)?;
    }
    let mut depmod = command("depmod", "kmod").map_err(depmod_error)?;
    run(depmod.arg("-b").arg(base.path()).arg(release)).map_err(depmod_error)?;
    let mut tree = Assembly::new(epoch);
    tree.begin_layer();
    let root = TreePath::new(format!("lib/modules/{release}")).expect("part of a path");
    for (path, entry) in modules {
        tree.insert(&root.join(&path), entry)?;
    }
    for written in fs::read_dir(&directory).map_err(io)? {
        let written = written.map_err(io)?;
        let name = TreePath::new(written.file_name().as_bytes()).expect("a file's name");
        let path = root.join(&name);
        if written.file_type().map_err(io)?.is_file() && tree.get(&path).is_none() {
            let mut bytes = Vec::new();
            fs::File::open(written.path()).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(io)?;
            tree.insert(&path, Entry::file(Bytes::Memory(bytes.into()), 0o644, epoch))?;
        }
    }
    Ok(tree.merged().clone())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn modules_come_out_uncompressed_however_they_were_packaged() {
        let scratch = tempfile::tempdir().expect("a directory");
        let plain = b"module".repeat(1000);
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(&plain).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        let path = TreePath::new("lib/modules/1/kernel/a").unwrap();
        for (name, packed, want) in [
            ("a.ko", plain.clone(), "a.ko"),
            ("a.ko.xz", xz.finish().unwrap(), "a.ko"),
            ("a.ko.gz", gz.finish().unwrap(), "a.ko"),
            ("a.ko.zst", zstd::encode_all(&plain[..], 1).unwrap(), "a.ko"),
            ("modules.order", plain.clone(), "modules.order"),
        ] {
            let (found, bytes) = decompressed(&path, name, &Bytes::Memory(packed.into()), scratch.path()).unwrap();
            assert_eq!((found.as_str(), bytes.read().unwrap()), (want, plain.clone()), "{name}");
        }
        for name in ["a.ko.xz", "a.ko.gz", "a.ko.zst"] {
            let error = decompressed(&path, name, &Bytes::Memory(plain.clone().into()), scratch.path()).unwrap_err();
            assert!(error.to_string().contains("`lib/modules/1/kernel/a`"), "{error}");
        }
    }
}
