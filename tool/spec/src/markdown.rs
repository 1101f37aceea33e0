//! `docs/spec.md`, made from the table of keys.

use std::fmt::Write;

use crate::keys::{Kind, PACKAGE, SPEC, Shape};
use crate::schema::describe;

/// What stands before the tables.
const OPENING: &str = include_str!("opening.md");

/// The documentation of every key.
#[must_use]
pub fn markdown() -> String {
    let mut out = OPENING.to_owned();
    let mut shapes = vec![&SPEC];
    let mut done = 0;
    out.push_str("\n# Every key\n\n“ours” marks keys that LinuxKit does not have.\n");
    while let Some(shape) = shapes.get(done).copied() {
        section(shape, &mut out, &mut shapes);
        done += 1;
    }
    out.push_str("\n# Every key of a package's `build.yml`\n");
    shapes.push(&PACKAGE);
    while let Some(shape) = shapes.get(done).copied() {
        section(shape, &mut out, &mut shapes);
        done += 1;
    }
    out
}

fn section(shape: &'static Shape, out: &mut String, shapes: &mut Vec<&'static Shape>) {
    let _ = write!(out, "\n## {}\n\n{}\n\n| Key | Value | Meaning |\n|---|---|---|\n", shape.name, shape.doc);
    for key in shape.all() {
        let marks = [(key.required, "required"), (key.ours, "ours"), (key.ignored.is_some(), "ignored")];
        let marks: Vec<_> = marks.into_iter().filter_map(|(holds, mark)| holds.then_some(mark)).collect();
        let marks = if marks.is_empty() { String::new() } else { format!(" *{}*", marks.join(", ")) };
        let mut meaning = key.doc.to_owned();
        for (word, what) in words(&key.kind) {
            let _ = write!(meaning, "<br>`{word}`: {what}");
        }
        if !key.default.is_empty() {
            let _ = write!(meaning, "<br>Default: {}.", key.default);
        }
        if let Some(why) = key.ignored {
            let _ = write!(meaning, "<br>Ignored: {why}.");
        }
        let _ = writeln!(
            out,
            "| `{}`{marks} | {} | {} |",
            key.name,
            describe(&key.kind).replace('|', "\\|"),
            meaning.replace('|', "\\|")
        );
        inner(&key.kind, shapes);
    }
}

fn words(kind: &Kind) -> &'static [(&'static str, &'static str)] {
    if let Kind::Word(words) | Kind::WordOr(words, _) = kind { words } else { &[] }
}

/// Queues the shapes that a kind refers to.
fn inner(kind: &Kind, shapes: &mut Vec<&'static Shape>) {
    match kind {
        Kind::Map(shape) | Kind::WordOr(_, shape) if !shapes.iter().any(|known| known.name == shape.name) => {
            shapes.push(shape)
        }
        Kind::List(kind) | Kind::OneOrMore(kind) | Kind::Table(kind) => inner(kind, shapes),
        _ => {}
    }
}
