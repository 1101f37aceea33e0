//! What must be there for a root to work, added where an image lacks it and nowhere else.
//!
//! LinuxKit drops and replaces files of images (`/etc/hosts`, `/etc/hostname`, a file called `Dockerfile`) and resets
//! directories because its images come out of `docker export`. Ours come from layers, so an image's content is kept; the
//! one exception is the init images' `/etc/resolv.conf`, which must lead to where DHCP writes.

use bootwright_oci::{Kind, Node, Tree, TreePath};

use crate::merge::{directory, file, symlink};

/// Where the machine's resolver configuration is while it runs.
pub(crate) const RESOLV_CONF: &str = "/run/resolvconf/resolv.conf";

const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The nodes that must exist, and whether an empty file counts as missing.
pub(crate) fn needed(init: bool) -> Vec<(TreePath, Node)> {
    let resolv = if init { symlink(RESOLV_CONF) } else { file(0o644, &b"# no resolv.conf configured\n"[..]) };
    [
        ("dev", directory(0o755)),
        ("dev/pts", directory(0o755)),
        ("dev/shm", directory(0o755)),
        ("etc", directory(0o755)),
        ("etc/hosts", file(0o644, HOSTS.as_bytes())),
        ("etc/mtab", symlink("/proc/mounts")),
        ("etc/resolv.conf", resolv),
        ("proc", directory(0o755)),
        ("sys", directory(0o755)),
    ]
    .into_iter()
    .map(|(path, node)| (TreePath::new(path).unwrap_or_default(), node))
    .collect()
}

/// Whether what stands there leaves the need unmet: nothing, or an empty file.
pub(crate) fn missing(existing: Option<&Kind>) -> bool {
    match existing {
        None => true,
        Some(Kind::File(content)) => content.size() == 0,
        Some(_) => false,
    }
}

/// A container's image with what it lacks.
pub(crate) fn for_container(image: &Tree) -> Tree {
    let mut tree = image.clone();
    for (path, node) in needed(false) {
        let parent = path.parent().unwrap_or_default();
        let stands = parent.is_root() || matches!(tree.get(&parent).map(|n| &n.kind), Some(Kind::Directory));
        let linked = tree.iter().any(|(_, n)| matches!(&n.kind, Kind::HardLink(target) if *target == path));
        if stands && !linked && missing(tree.get(&path).map(|n| &n.kind)) {
            tree.nodes_mut().insert(path, node);
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{path, tree};
    use bootwright_oci::Content;

    // LinuxKit replaces /etc/hosts, drops /etc/hostname and Dockerfile, and resets /etc to 0755 (parity table 2.4).
    #[test]
    fn an_images_own_content_is_kept_and_only_gaps_are_filled() {
        let mut given = tree(&["etc/", "etc/hosts=10.0.0.1 db", "etc/hostname=h", "Dockerfile=x", "etc/resolv.conf="]);
        given.nodes_mut().get_mut(&path("etc")).unwrap().meta.mode = 0o700;
        let made = for_container(&given);
        assert_eq!(made.get(&path("etc")), given.get(&path("etc")));
        for kept in ["etc/hosts", "etc/hostname", "Dockerfile"] {
            assert_eq!(made.get(&path(kept)), given.get(&path(kept)), "{kept}");
        }
        for added in ["dev/pts", "proc", "sys", "etc/mtab"] {
            assert!(made.get(&path(added)).is_some(), "{added}");
        }
        let resolv = &made.get(&path("etc/resolv.conf")).unwrap().kind;
        assert!(matches!(resolv, Kind::File(Content::Inline(text)) if text.starts_with(b"# no resolv")));
        let empty = for_container(&Tree::default());
        assert!(matches!(&empty.get(&path("etc/hosts")).unwrap().kind, Kind::File(c) if c.size() > 100));
        // A link where a directory is expected is the image's business.
        let linked = for_container(&tree(&["etc->private/etc"]));
        assert!(matches!(linked.get(&path("etc")).unwrap().kind, Kind::Symlink(_)));
        assert!(linked.get(&path("etc/hosts")).is_none());
    }
}
