//! What `runtime.json` asks for around a container: cgroups, mounts, directories, bound namespaces.
//!
//! Relative paths are inside the container's root, whose links must not lead out of it, so they are resolved by the kernel
//! with that directory as root (openat2(2), RESOLVE_IN_ROOT).

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use bootwright_bundle::{Mount, Runtime};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::ContainerError;
use crate::cgroups;
use crate::mounts::{self, Options};

/// Prepares everything, in LinuxKit's order.
pub fn all(runtime: &Runtime, rootfs: &Path) -> Result<(), ContainerError> {
    let step = |what: String| move |source| ContainerError::Step { what, source };
    for cgroup in runtime.cgroups.iter().flatten() {
        cgroups::make(&cgroups::path(cgroup, "")).map_err(step(format!("making the cgroup `{cgroup}`")))?;
    }
    for entry in runtime.mounts.iter().flatten() {
        mount(entry, rootfs).map_err(step(format!("mounting {} on `{}`", kind_of(entry), entry.destination)))?;
    }
    for directory in runtime.mkdir.iter().flatten() {
        let made = Place::make(directory, rootfs).map(drop);
        made.map_err(step(format!("making the directory `{directory}`")))?;
    }
    Ok(())
}

fn kind_of(entry: &Mount) -> &str {
    if entry.kind.is_empty() { "nothing" } else { &entry.kind }
}

fn mount(entry: &Mount, rootfs: &Path) -> io::Result<()> {
    for layer in layers(&entry.options) {
        fs::create_dir_all(layer)?;
    }
    let options = Options::parse(&entry.options);
    let place = match Place::find(&entry.destination, rootfs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Place::make(&entry.destination, rootfs)?,
        other => other?,
    };
    mounts::mount(&entry.source, &place.path, &entry.kind, &options)
}

/// The directories of an overlay that its mount makes.
fn layers(options: &[String]) -> impl Iterator<Item = &str> {
    let options = options.iter().flat_map(|o| o.split(','));
    options.filter_map(|o| o.strip_prefix("upperdir=").or(o.strip_prefix("workdir=")))
}

/// A path of `runtime.json`, resolved.
struct Place {
    path: PathBuf,
    /// What `path` refers to when it is inside the container's root.
    _held: Option<OwnedFd>,
}

impl Place {
    fn find(path: &str, rootfs: &Path) -> io::Result<Self> {
        if path.starts_with('/') {
            fs::metadata(path)?;
            return Ok(Self { path: path.into(), _held: None });
        }
        Ok(Self::holding(open_inside(&open_root(rootfs)?, Path::new(path))?))
    }

    /// Makes the directory and its parents.
    fn make(path: &str, rootfs: &Path) -> io::Result<Self> {
        if path.starts_with('/') {
            fs::create_dir_all(path)?;
            return Ok(Self { path: path.into(), _held: None });
        }
        let root = open_root(rootfs)?;
        let mut walked = PathBuf::new();
        let mut parent = root.try_clone()?;
        for component in Path::new(path).components() {
            let Component::Normal(name) = component else { continue };
            walked.push(name);
            parent = match open_inside(&root, &walked) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                    open_inside(&root, &walked)?
                }
                other => other?,
            };
        }
        Ok(Self::holding(parent))
    }

    fn holding(fd: OwnedFd) -> Self {
        Self { path: PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())), _held: Some(fd) }
    }
}

fn open_root(rootfs: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, rootfs, flags, Mode::empty())?)
}

fn open_inside(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// Binds a namespace of a process on a path, so that it outlives the process and others can enter it.
pub fn bind_namespace(pid: u32, kind: &str, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::options().create(true).append(true).open(path)?;
    Ok(rustix::mount::mount_bind(format!("/proc/{pid}/ns/{kind}"), path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn overlays_get_their_directories() {
        let options = ["lowerdir=/l,upperdir=/t/upper".to_owned(), "workdir=/t/work".to_owned()];
        assert_eq!(layers(&options).collect::<Vec<_>>(), ["/t/upper", "/t/work"]);
    }

    #[test]
    fn directories_inside_the_root_do_not_escape_it() {
        let directory = tempfile::tempdir().unwrap();
        let rootfs = directory.path().join("rootfs");
        fs::create_dir(&rootfs).unwrap();
        symlink("/", rootfs.join("link")).unwrap();
        symlink("../..", rootfs.join("up")).unwrap();
        for path in ["a/b", "link/c/d", "../e", "up/f"] {
            Place::make(path, &rootfs).unwrap();
        }
        for path in ["a/b", "c/d", "e", "f"] {
            assert!(rootfs.join(path).is_dir(), "{path}");
        }
        assert!(!directory.path().join("e").exists());
        assert!(Place::find("a/b", &rootfs).is_ok());
        assert!(Place::find("nothing", &rootfs).is_err());
    }
}
