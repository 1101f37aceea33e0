//! `control:` and `logging:`.

use super::{flag, items, spanned, text, texts};
use crate::node::Node;
use crate::{Control, Forward, Logging, Spanned, values};

pub(super) fn control(node: &Node) -> Control {
    Control {
        virtio_serial: flag(node, "virtio-serial"),
        vsock: number(node, "vsock"),
        socket: flag(node, "socket"),
        allow: texts(node, "allow"),
    }
}

pub(super) fn logging(node: &Node) -> Logging {
    let forward = |node: &std::rc::Rc<Node>| {
        let to = text(node, "to")?;
        let format = node.get("format").and_then(spanned);
        let format = format.unwrap_or_else(|| Spanned { value: "syslog".to_owned(), span: to.span });
        Some(Forward { to, format })
    };
    Logging {
        console: flag(node, "console"),
        files: text(node, "files"),
        file_size: number(node, "fileSize"),
        file_count: number(node, "fileCount"),
        forward: node.get("forward").map(|_| items(node, "forward").iter().filter_map(forward).collect()),
    }
}

/// The whole number under a key.
fn number<T: TryFrom<i64>>(node: &Node, key: &str) -> Option<Spanned<T>> {
    let node = node.get(key)?;
    let number = values::integer(node.text()?, 0, i64::MAX).ok()?;
    Some(Spanned { value: T::try_from(number).ok()?, span: node.span })
}
