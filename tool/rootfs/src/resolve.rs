//! Following symbolic links inside a tree, as a kernel would with the tree as its root.

use std::collections::VecDeque;

use bootwright_oci::{Kind, TreePath};

/// The kernel's own limit.
const LINKS: usize = 40;

/// Too many links on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loop;

/// The path that a path means once links are followed; what does not exist is taken literally. `last` says whether a link
/// in the last place is followed too.
pub(crate) fn resolve<'a>(
    lookup: impl Fn(&TreePath) -> Option<&'a Kind>,
    path: &[u8],
    last: bool,
) -> Result<TreePath, Loop> {
    let mut pending: VecDeque<Vec<u8>> = parts(path).collect();
    let mut at = TreePath::default();
    let mut links = 0;
    while let Some(part) = pending.pop_front() {
        if part == b".." {
            at = at.parent().unwrap_or_default();
            continue;
        }
        let Ok(name) = TreePath::new(&part) else { return Err(Loop) };
        let next = at.join(&name);
        match lookup(&next) {
            Some(Kind::Symlink(target)) if last || !pending.is_empty() => {
                links += 1;
                if links > LINKS {
                    return Err(Loop);
                }
                if target.first() == Some(&b'/') {
                    at = TreePath::default();
                }
                for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
                    pending.push_front(part);
                }
            }
            _ => at = next,
        }
    }
    Ok(at)
}

fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn links_are_followed_inside_the_tree_and_loops_end() {
        let link = |target: &str| Kind::Symlink(target.as_bytes().to_vec());
        let tree: BTreeMap<&str, Kind> = BTreeMap::from([
            ("lib", link("usr/lib")),
            ("bin", link("/usr/bin")),
            ("usr/bin/sh", link("../../bin/busybox")),
            ("out", link("../../../../etc")),
            ("loop", link("loop")),
        ]);
        let lookup = |path: &TreePath| tree.get(path.to_string().as_str());
        for (path, last, want) in [
            ("lib/modules/x", true, "usr/lib/modules/x"),
            ("/bin/sh", true, "usr/bin/busybox"),
            ("/bin/sh", false, "usr/bin/sh"),
            ("out/passwd", true, "etc/passwd"),
            ("lib", false, "lib"),
        ] {
            assert_eq!(resolve(lookup, path.as_bytes(), last).unwrap().to_string(), want, "{path}");
        }
        assert_eq!(resolve(lookup, b"loop/x", true), Err(Loop));
    }
}
