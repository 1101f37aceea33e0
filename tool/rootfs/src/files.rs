//! `files:` (parity table, section 2.12): single files, links and directories over everything else.
//!
//! Parents that exist are never touched; those that do not are made 0755 and root's. Links in the parents are followed,
//! as the running machine would.

use std::collections::BTreeMap;

use bootwright_oci::{Content, Kind, Metadata, Node, TreePath};
use bootwright_spec::{FileContents, FileEntry, Spec};

use crate::accounts::{Accounts, Names};
use crate::inputs::Inputs;
use crate::merge::{MTIME, Merge};
use crate::problems::{Describe, Problems};

/// What init mounts over.
const VOLATILE: [&str; 3] = ["run", "tmp", "var"];

/// Adds every entry, in order.
pub(crate) fn add(
    merge: &mut Merge,
    spec: &Spec,
    inputs: &Inputs<'_>,
    ids: &BTreeMap<String, u32>,
    accounts: &Accounts,
    problems: &mut Problems,
) {
    let names = Names { containers: ids, accounts, place: "the init images" };
    for (index, entry) in spec.files.iter().enumerate() {
        let Some((kind, mode)) = contents(entry, inputs, problems) else { continue };
        let uid = entry.uid.as_ref().map_or((0, None), |uid| names.uid(uid, problems));
        let gid = entry.gid.as_ref().map_or(uid.1.unwrap_or(0), |gid| names.gid(gid, problems));
        let Ok(path) = TreePath::new(&entry.path.value) else {
            problems
                .error(Some(entry.path.span), format!("path `{}` leads out of the machine", entry.path.value))
                .hint("write the whole path without `..`");
            continue;
        };
        if path.is_root() {
            problems.error(Some(entry.path.span), "a file needs a name below the root");
            continue;
        }
        let at = merge.locate(&path);
        if let Some(file) = merge.blocker(&at) {
            problems
                .error(Some(entry.path.span), format!("`/{at}` cannot be: `/{file}` is not a directory"))
                .hint("choose another path");
            continue;
        }
        let hidden = VOLATILE.iter().find(|v| at.is_within(&TreePath::new(v).unwrap_or_default()));
        if let (Some(hidden), false) =
            (hidden, hidden.is_some_and(|h| matches!(kind, Kind::Directory) && at.to_string() == *h))
        {
            problems
                .warning(Some(entry.path.span), format!("`/{at}` is hidden at boot: init mounts memory over /{hidden}"))
                .hint("put it elsewhere, and link or copy it there in an onboot container");
        }
        if !matches!(kind, Kind::Directory) && merge.kind(&at).is_some_and(|k| matches!(k, Kind::Directory)) {
            let below = merge.tree.keys().any(|p| p.is_within(&at) && *p != at);
            if below {
                problems
                    .error(Some(entry.path.span), format!("`/{at}` is a directory that already has files in it"))
                    .hint("choose another path");
                continue;
            }
        }
        let component = merge.component(&format!("files[{index}]"), "linuxkit.files", Some(&format!("/{at}")));
        let meta = Metadata { mode, uid: uid.0, gid, mtime: MTIME, ..Metadata::default() };
        merge.put(component, &at, Node { meta, kind });
    }
}

/// What an entry is, and its mode; none if it is left out or wrong.
fn contents(entry: &FileEntry, inputs: &Inputs<'_>, problems: &mut Problems) -> Option<(Kind, u32)> {
    let mode = |default| entry.mode.unwrap_or(default) & 0o7777;
    let kind = match &entry.contents {
        FileContents::Directory => return Some((Kind::Directory, mode(0o700))),
        FileContents::Symlink(target) => return Some((Kind::Symlink(target.clone().into_bytes()), 0o777)),
        FileContents::Text(text) => Kind::File(Content::inline(text.as_bytes())),
        FileContents::Metadata(format) => Kind::File(Content::inline((inputs.metadata)(*format).into_bytes())),
        FileContents::Source(path) => match (inputs.host)(&path.value) {
            Ok(content) => Kind::File(content),
            Err(error) if entry.optional && error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                let message = format!("`{}` cannot be read: {error}", path.value.display());
                let problem = problems.error(Some(path.span), message);
                if error.kind() == std::io::ErrorKind::NotFound {
                    problem.hint(
                        "paths are relative to the YAML file; `optional: true` leaves it out where it is missing",
                    );
                }
                return None;
            }
        },
    };
    Some((kind, mode(0o600)))
}
