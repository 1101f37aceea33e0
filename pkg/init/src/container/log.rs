//! Why a process could not become the container's program, on the container's standard error.
//!
//! What goes wrong in this process the library returns. What goes wrong in the container's own process it returns without
//! causes, and after the start (execve) it tells its tracing subscriber only; without one the container would end with 255
//! and no word.

use std::fmt;
use std::io::Write;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Sends errors to standard error from now on.
pub fn to_stderr() {
    let _ = tracing::subscriber::set_global_default(Errors { own: std::process::id() });
}

struct Errors {
    /// The process whose errors are returned.
    own: u32,
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && std::process::id() != self.own
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        // Not eprintln, which panics when nobody reads.
        let _ = std::io::stderr().write_all(format!("{}{}\n", text.message, text.fields).as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.push_str(&format!(" {}={value:?}", field.name()));
        }
    }
}
