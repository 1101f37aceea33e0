//! YAML text as a tree of nodes, each with its span: own builder over the events of `saphyr-parser` (YAML 1.2).
//!
//! Scalars keep their text and whether they were written plain; what they mean is decided by the key they stand under, so
//! that `cmdline: 1.10` and `image: no` stay what was written. Anchors, aliases and merge keys are resolved here.
//! An alias shares its node, so memory is bounded by the input's size; what walks the tree later pays per visit, so the
//! expanded sizes are budgeted too.

mod explain;
mod offsets;

use std::collections::HashMap;
use std::rc::Rc;

use self::explain::explain;
use self::offsets::Offsets;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use crate::findings::Findings;
use crate::{Diagnostic, SourceId, Sources, Span};

/// Largest YAML text that is read, in bytes. A reader of files can stop there: what is longer is refused.
pub const MAX_BYTES: usize = 4 << 20;
/// Most nodes of a document, aliases counted as often as they are used.
const MAX_NODES: usize = 250_000;
/// Most text of a document in bytes, aliases counted as often as they are used.
const MAX_TEXT: usize = 16 << 20;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// A value with its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    size: Size,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Value {
    /// A scalar's text; `plain` when it was written without quotes, so that it may be a number, a boolean or null.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Rc<Node>>),
    /// A mapping in the order written, without duplicates, merge keys applied.
    Map(Vec<(Name, Rc<Node>)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: Rc<str>,
    pub(crate) span: Span,
}

/// What a node costs whoever walks it.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: usize,
    text: usize,
    height: usize,
}

impl Node {
    /// Whether it is `null`, `~` or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar that is not null.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The entries of a list; none of anything else.
    pub(crate) fn list(&self) -> &[Rc<Node>] {
        if let Value::List(list) = &self.value { list } else { &[] }
    }

    /// The entries of a mapping; none of anything else.
    pub(crate) fn entries(&self) -> &[(Name, Rc<Node>)] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The value under a key, unless it is null.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries().iter().find(|(name, _)| &*name.text == key);
        found.map(|(_, node)| &**node).filter(|node| !node.is_null())
    }

    /// What it is, for "expected …, found …".
    pub(crate) fn what(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar { plain: true, text } => match text.as_str() {
                "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => "a boolean",
                text if text.parse::<f64>().is_ok() => "a number",
                _ => "a string",
            },
            Value::Scalar { .. } => "a string",
        }
    }
}

/// Parses the first and only document of a source. What is wrong goes to `findings`; none means that there is no tree.
pub(crate) fn parse(source: SourceId, sources: &Sources, findings: &mut Findings) -> Option<Rc<Node>> {
    let text = sources.text(source);
    if text.len() > MAX_BYTES {
        findings.push(
            Diagnostic::error(format!("`{}` is too large for a spec: {} bytes", sources.name(source), text.len()))
                .hint(format!(
                    "at most {MAX_BYTES} bytes are read; larger files of the machine belong under `files: source:`"
                )),
        );
        return None;
    }
    let builder = Builder {
        source,
        sources,
        findings,
        offsets: Offsets::new(text),
        stack: Vec::new(),
        anchors: HashMap::new(),
        size: Size::default(),
        root: None,
    };
    match builder.run(text) {
        Ok(Some(root)) => Some(root),
        Ok(None) => {
            let span = Span { source, start: 0, end: 0 };
            findings
                .push(Diagnostic::error("the file is empty").at(span).label("nothing but white space and comments"));
            None
        }
        Err(problem) => {
            findings.push(*problem);
            None
        }
    }
}

/// A collection that is not finished.
struct Frame {
    kind: FrameKind,
    anchor: usize,
    start: u32,
    end: u32,
    size: Size,
}

enum FrameKind {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<(Name, Rc<Node>)>, seen: HashMap<Rc<str>, Span>, key: Option<Pending>, merges: Vec<Rc<Node>> },
}

/// A key whose value is still to come.
enum Pending {
    Key(Name),
    Merge,
    /// The key was wrong and said so; its value is dropped.
    Dropped,
}

struct Builder<'a> {
    source: SourceId,
    sources: &'a Sources,
    findings: &'a mut Findings,
    offsets: Offsets<'a>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    size: Size,
    root: Option<Rc<Node>>,
}

/// The one problem that ends the parse.
type Fatal = Box<Diagnostic>;

impl Builder<'_> {
    fn run(mut self, text: &str) -> Result<Option<Rc<Node>>, Fatal> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| Box::new(self.syntax(&error)))?;
            let span = self.span(span);
            if documents > 1 && !matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty()) {
                if matches!(event, Event::DocumentEnd | Event::StreamEnd) {
                    continue;
                }
                return Err(Box::new(
                    Diagnostic::error("more than one YAML document in the file")
                        .at(span)
                        .label("the second document starts here")
                        .hint("a spec is one document; give further ones as files of their own: `bootwright build a.yml b.yml`"),
                ));
            }
            match event {
                Event::DocumentStart(_) => documents += 1,
                Event::Scalar(text, style, anchor, tag) if documents == 1 => {
                    let plain = self.plain(style, tag.as_deref(), span);
                    let size = Size { nodes: 1, text: text.len(), height: 0 };
                    self.charge(size, span)?;
                    let node = Node { value: Value::Scalar { text: text.into_owned(), plain }, span, size };
                    self.attach(Rc::new(node), anchor);
                }
                Event::SequenceStart(anchor, tag) => {
                    self.plain(ScalarStyle::Plain, tag.as_deref(), span);
                    self.open(FrameKind::List(Vec::new()), anchor, span)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.plain(ScalarStyle::Plain, tag.as_deref(), span);
                    let kind =
                        FrameKind::Map { entries: Vec::new(), seen: HashMap::new(), key: None, merges: Vec::new() };
                    self.open(kind, anchor, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span),
                Event::Alias(anchor) => {
                    let Some(node) = self.anchors.get(&anchor).cloned() else {
                        return Err(Box::new(
                            Diagnostic::error("an alias inside of what it names")
                                .at(span)
                                .label("this would never end"),
                        ));
                    };
                    if self.stack.len() + node.size.height > MAX_DEPTH {
                        return Err(self.too_deep(span));
                    }
                    self.charge(node.size, span)?;
                    self.attach(node, 0);
                }
                _ => {}
            }
        }
        Ok(self.root.filter(|root| !root.is_null()))
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let (start, end) = (self.offsets.byte(span.start.index()), self.offsets.byte(span.end.index()));
        let text = &self.sources.text(self.source)[start..end.max(start)];
        let length = text.trim_end().len();
        Span { source: self.source, start: offset(start), end: offset(start + length) }
    }

    /// Whether a scalar may be a number, a boolean or null; complains about tags that mean nothing here.
    fn plain(&mut self, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return style == ScalarStyle::Plain };
        let known = matches!(tag.suffix.as_str(), "str" | "int" | "float" | "bool" | "null" | "seq" | "map" | "merge");
        if tag.is_yaml_core_schema() && known {
            return tag.suffix != "str" && style == ScalarStyle::Plain;
        }
        // A lone `!` says "a string"; the parser gives it as handle or suffix.
        if !matches!((tag.handle.as_str(), tag.suffix.as_str()), ("", "!") | ("!", "")) {
            self.findings.push(
                Diagnostic::error(format!("the tag `{tag}` means nothing in a spec"))
                    .at(span)
                    .label("the tagged value")
                    .hint("leave it out; put quotes around what is meant as a string"),
            );
        }
        false
    }

    /// Counts what is about to be added against the budgets.
    fn charge(&mut self, size: Size, span: Span) -> Result<(), Fatal> {
        self.size.nodes = self.size.nodes.saturating_add(size.nodes);
        self.size.text = self.size.text.saturating_add(size.text);
        if self.size.nodes <= MAX_NODES && self.size.text <= MAX_TEXT {
            return Ok(());
        }
        Err(Box::new(
            Diagnostic::error("the document is too large once its aliases are expanded")
                .at(span)
                .label("here the limit was reached")
                .hint(format!("at most {MAX_NODES} values and {MAX_TEXT} bytes of text are read")),
        ))
    }

    fn too_deep(&self, span: Span) -> Fatal {
        let problem = Diagnostic::error("the document is nested too deeply").at(span);
        Box::new(problem.label(format!("more than {MAX_DEPTH} levels")))
    }

    fn open(&mut self, kind: FrameKind, anchor: usize, span: Span) -> Result<(), Fatal> {
        let size = Size { nodes: 1, text: 0, height: 0 };
        self.charge(size, span)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.too_deep(span));
        }
        self.stack.push(Frame { kind, anchor, start: span.start, end: span.end, size });
        Ok(())
    }

    fn close(&mut self, span: Span) {
        let Some(frame) = self.stack.pop() else { return };
        // The end of a block collection is reported where the next token starts; that of a flow collection is a bracket.
        let end = if span.end > span.start { span.end } else { frame.end };
        let mut size = frame.size;
        let value = match frame.kind {
            FrameKind::List(list) => Value::List(list),
            FrameKind::Map { mut entries, mut seen, merges, .. } => {
                for (name, node) in merges.iter().flat_map(|merged| merged.entries()) {
                    if seen.insert(name.text.clone(), name.span).is_none() {
                        entries.push((name.clone(), node.clone()));
                        size = add(size, node.size);
                    }
                }
                Value::Map(entries)
            }
        };
        let span = Span { source: self.source, start: frame.start, end: end.max(frame.start) };
        self.attach(Rc::new(Node { value, span, size }), frame.anchor);
    }

    /// Puts a finished node where it belongs.
    fn attach(&mut self, node: Rc<Node>, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.end = frame.end.max(node.span.end);
        match &mut frame.kind {
            FrameKind::List(list) => {
                frame.size = add(frame.size, node.size);
                list.push(node);
            }
            FrameKind::Map { entries, seen, key, merges } => match key.take() {
                Some(Pending::Key(name)) => {
                    frame.size = add(frame.size, node.size);
                    entries.push((name, node));
                }
                Some(Pending::Merge) => {
                    let lists_maps =
                        !node.list().is_empty() && node.list().iter().all(|n| matches!(n.value, Value::Map(_)));
                    if matches!(node.value, Value::Map(_)) {
                        merges.push(node);
                    } else if lists_maps {
                        merges.extend(node.list().iter().cloned());
                    } else {
                        let problem = Diagnostic::error("`<<` merges a map or a list of maps").at(node.span);
                        self.findings.push(problem.label(format!("this is {}", node.what())));
                    }
                }
                Some(Pending::Dropped) => {}
                None => {
                    frame.size = add(frame.size, node.size);
                    *key = Some(match &node.value {
                        Value::Scalar { text, plain: true } if text == "<<" => Pending::Merge,
                        Value::Scalar { text, .. } => {
                            let name = Name { text: text.as_str().into(), span: node.span };
                            if let Some(first) = seen.get(&name.text) {
                                if !self.findings.full() {
                                    let problem = Diagnostic::error(format!("the key `{}` is given twice", name.text));
                                    let (line, column) = self.sources.location(*first);
                                    self.findings.push(
                                        problem.at(name.span).label(format!("it was given first at {line}:{column}")),
                                    );
                                }
                                Pending::Dropped
                            } else {
                                seen.insert(name.text.clone(), name.span);
                                Pending::Key(name)
                            }
                        }
                        _ => {
                            let problem = Diagnostic::error("a key must be a string").at(node.span);
                            self.findings.push(problem.label(format!("this is {}", node.what())));
                            Pending::Dropped
                        }
                    });
                }
            },
        }
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let start = self.offsets.byte(error.marker().index());
        let text = self.sources.text(self.source);
        let length = text[start..].chars().next().filter(|c| *c != '\n' && *c != '\r').map_or(0, char::len_utf8);
        let span = Span { source: self.source, start: offset(start), end: offset(start + length) };
        let (message, hint) = explain(error.info());
        let problem = Diagnostic::error(format!("not valid YAML: {message}")).at(span);
        let problem = problem.label(error.info().replace("double-quoted", "quoted").replace(char::is_control, " "));
        let problem = match self.stack.last() {
            Some(open) if message.starts_with("brackets") => {
                let (line, column) = self.sources.location(Span { start: open.start, end: open.start, ..span });
                problem.hint(format!("the innermost open bracket is at {line}:{column}"))
            }
            _ => problem,
        };
        if let Some(hint) = hint { problem.hint(hint) } else { problem }
    }
}

fn add(a: Size, b: Size) -> Size {
    Size {
        nodes: a.nodes.saturating_add(b.nodes),
        text: a.text.saturating_add(b.text),
        height: a.height.max(b.height + 1),
    }
}

fn offset(byte: usize) -> u32 {
    u32::try_from(byte).expect("sources are at most MAX_BYTES long")
}
