//! How long work tells about itself. The terminal, plain lines and JSON are the CLI's business.

/// Where libraries say what they do.
pub trait Reporter: Send + Sync {
    /// Long work begins; `total` in bytes where it is known.
    fn start(&self, what: &str, total: Option<u64>) -> Box<dyn Task>;
    /// Worth a line.
    fn note(&self, line: &str);
    /// Worth a line even under `--quiet`.
    fn warn(&self, line: &str);
}

/// One piece of long work; dropping it ends it.
pub trait Task: Send {
    /// That many more bytes are done.
    fn advance(&mut self, bytes: u64);
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn note(&self, _: &str) {}

    fn warn(&self, _: &str) {}
}

impl Task for Silent {
    fn advance(&mut self, _: u64) {}
}
