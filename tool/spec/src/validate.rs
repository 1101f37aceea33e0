//! A tree of nodes against the table of keys: every unknown key, wrong type and bad value of a document in one walk.

use std::fmt;

use crate::findings::Findings;
use crate::keys::{CONFIG, Key, Kind, Shape};
use crate::node::{Node, Value};
use crate::values::{self, Complaint, Text, quoted};
use crate::{Diagnostic, Span, nearest};

/// Checks a document that people write against a shape.
pub(crate) fn validate(root: &Node, shape: &'static Shape, findings: &mut Findings) {
    let mut walk = Walk { findings, path: Vec::new(), listed: Vec::new(), nulls: false };
    walk.map(root, shape, root.span);
}

/// Checks a label, which a program wrote: a null says nothing there, whereas people leave a value out by mistake.
pub(crate) fn validate_label(root: &Node, findings: &mut Findings) {
    let mut walk = Walk { findings, path: Vec::new(), listed: Vec::new(), nulls: true };
    walk.map(root, &CONFIG, root.span);
}

/// One step from a node to what it holds.
enum Step {
    Key(String),
    Index(usize),
}

struct Walk<'a> {
    findings: &'a mut Findings,
    path: Vec<Step>,
    /// Shapes whose keys a hint has listed already: once is enough.
    listed: Vec<&'static str>,
    /// Whether every key may be null.
    nulls: bool,
}

/// The way from the document to a node, as messages show it: `services[0].resources`.
struct Path<'a>(&'a [Step]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Checks a node that stands under a key whose name is at `name`: where nothing was written, the name is the place.
    fn value(&mut self, node: &Node, kind: &'static Kind, name: Span) {
        match kind {
            Kind::Map(shape) => self.map(node, shape, name),
            Kind::WordOr(_, shape) if matches!(node.value, Value::Map(_)) => self.map(node, shape, name),
            Kind::WordOr(..) => self.scalar(node, kind, name),
            Kind::Table(kind) => {
                let Value::Map(entries) = &node.value else { return self.wrong_type(node, "a map".to_owned(), name) };
                for (key, value) in entries {
                    self.path.push(Step::Key(key.text.to_string()));
                    self.value(value, kind, key.span);
                    self.path.pop();
                }
            }
            Kind::List(kind) => {
                let Value::List(list) = &node.value else {
                    let hint = node.text().map(|_| "a list is written `[one, two]`, or with one `- entry` per line");
                    return self.wrong(node, expected_list(kind), name, hint);
                };
                for (index, value) in list.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    self.value(value, kind, name);
                    self.path.pop();
                }
                self.alone(list.iter().map(|node| &**node), kind);
            }
            Kind::OneOrMore(one) => match &node.value {
                Value::List(list) if !list.is_empty() => {
                    for (index, value) in list.iter().enumerate() {
                        self.path.push(Step::Index(index));
                        self.value(value, one, name);
                        self.path.pop();
                    }
                }
                _ => self.value(node, one, name),
            },
            Kind::Text(_) | Kind::Word(_) | Kind::Flag | Kind::Integer(..) | Kind::Id | Kind::Mode => {
                self.scalar(node, kind, name)
            }
        }
    }

    fn scalar(&mut self, node: &Node, kind: &Kind, name: Span) {
        let Value::Scalar { text, plain } = &node.value else { return self.wrong_type(node, expected(kind), name) };
        if node.is_null() {
            return self.wrong_type(node, expected(kind), name);
        }
        let checked = match kind {
            Kind::Text(format) => format.check(text),
            Kind::Integer(min, max) if *plain => values::integer(text, *min, *max).map(drop),
            Kind::Flag if *plain && values::flag(text).is_some() => Ok(()),
            Kind::Integer(..) | Kind::Flag => {
                let unquoted = values::flag(text).is_some() || values::integer(text, i64::MIN, i64::MAX).is_ok();
                let hint = (!plain && unquoted).then_some("leave the quotes out");
                return self.wrong(node, expected(kind), name, hint);
            }
            Kind::Id => values::owner(text, *plain).map(drop),
            Kind::Mode => values::mode(text, *plain).map(drop),
            Kind::Word(words) | Kind::WordOr(words, _) if words.iter().any(|(word, _)| word == text) => Ok(()),
            Kind::Word(words) | Kind::WordOr(words, _) => {
                let allowed = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
                let near = nearest(text, words.iter().map(|(word, _)| *word));
                Err(Complaint {
                    message: format!("unknown value {}", quoted(text)),
                    label: near
                        .map_or_else(|| format!("allowed here: {allowed}"), |near| format!("did you mean `{near}`?")),
                    hint: near.map(|_| format!("allowed here: {allowed}")),
                })
            }
            Kind::List(_) | Kind::OneOrMore(_) | Kind::Map(_) | Kind::Table(_) => Ok(()),
        };
        match (checked, kind) {
            (Err(complaint), _) => self.complain(node.span, complaint),
            (Ok(()), Kind::Text(format))
                if !matches!(format, Text::Image | Text::ImageOrNone) && text.starts_with("@pkg:") =>
            {
                self.findings.push(
                    Diagnostic::warning("`@pkg:` is resolved only where an image is named")
                        .at(node.span)
                        .label("this stays the text that it is"),
                )
            }
            (Ok(()), _) => {}
        }
    }

    /// `all` and `none` say something about a whole list, so they stand in it alone.
    fn alone<'a>(&mut self, list: impl ExactSizeIterator<Item = &'a Node>, kind: &Kind) {
        let Kind::Text(Text::Capability) = kind else { return };
        if list.len() < 2 {
            return;
        }
        for node in list {
            if let Some(word) =
                node.text().filter(|text| text.eq_ignore_ascii_case("all") || text.eq_ignore_ascii_case("none"))
            {
                let label = "it says what the whole list is";
                let message = format!("`{word}` stands beside other capabilities");
                self.complain(node.span, Complaint { message, label: label.to_owned(), hint: None });
            }
        }
    }

    fn map(&mut self, node: &Node, shape: &'static Shape, name: Span) {
        let Value::Map(entries) = &node.value else {
            return self.wrong_type(node, format!("a map with the keys of {}", shape.title), name);
        };
        let mut seen: Vec<&Key> = Vec::new();
        let mut unknown: Vec<&str> = Vec::new();
        for (key, value) in entries {
            if key.text.starts_with("x-") {
                continue;
            }
            let Some(known) = shape.find(&key.text) else {
                self.unknown(&key.text, key.span, shape);
                unknown.push(&key.text);
                continue;
            };
            if seen.iter().any(|before| before.name == known.name) {
                self.findings.push(
                    Diagnostic::error(format!("the key `{}` is given twice{}", known.name, self.of()))
                        .at(key.span)
                        .label("in another letter case before"),
                );
            }
            seen.push(known);
            self.path.push(Step::Key(key.text.to_string()));
            if let Some(why) = known.ignored {
                let warning = Diagnostic::warning(format!("`{}` is ignored", Path(&self.path))).at(key.span);
                self.findings.push(warning.label(why));
            }
            if !((known.nullable || self.nulls) && value.is_null()) {
                self.value(value, &known.kind, key.span);
            }
            self.path.pop();
        }
        for missing in shape.all().filter(|key| key.required && !seen.iter().any(|seen| seen.name == key.name)) {
            // A misspelt key is one mistake.
            let meant = |word: &&str| nearest(word, std::iter::once(missing.name)).is_some();
            if self.findings.only_counts() || unknown.iter().any(meant) {
                continue;
            }
            let problem = Diagnostic::error(format!("`{}` is missing{}", missing.name, self.of()));
            let problem = problem.at(head(node)).label(format!("{} needs it", shape.title));
            self.findings.push(problem.hint(format!("`{}`: {}", missing.name, missing.doc.trim_end_matches('.'))));
        }
    }

    fn unknown(&mut self, key: &str, span: Span, shape: &Shape) {
        if self.findings.only_counts() {
            return;
        }
        let mut names: Vec<_> = shape.all().filter(|key| key.ignored.is_none()).map(|key| key.name).collect();
        let problem = Diagnostic::error(format!("unknown key {}{}", quoted(key), self.of())).at(span);
        let problem = match nearest(key, names.iter().copied()) {
            Some(near) => problem.label(format!("did you mean `{near}`?")),
            None => problem.label(format!("not a key of {}", shape.title)),
        };
        let problem = if shape.name == CONFIG.name && matches!(key, "name" | "image") {
            problem.label("belongs into the spec that uses the image")
        } else {
            problem
        };
        if self.listed.contains(&shape.name) {
            return self.findings.push(problem);
        }
        self.listed.push(shape.name);
        names.sort_unstable();
        let allowed = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        self.findings.push(problem.hint(format!("allowed here: {allowed}")));
    }

    /// " in `services[0]`", or nothing at the top.
    fn of(&self) -> String {
        if self.path.is_empty() {
            String::new()
        } else {
            format!(" in `{}`", quoted(&Path(&self.path).to_string()).replace('`', ""))
        }
    }

    fn wrong_type(&mut self, node: &Node, expected: String, name: Span) {
        self.wrong(node, expected, name, None);
    }

    fn wrong(&mut self, node: &Node, expected: String, name: Span, hint: Option<&str>) {
        if self.findings.only_counts() {
            return;
        }
        let path = if self.path.is_empty() { "the document".to_owned() } else { quoted(&Path(&self.path).to_string()) };
        let problem = Diagnostic::error(format!("{path} must be {expected}"));
        let problem = problem
            .label(format!("this is {}", if node.is_null() { "nothing: the value is missing" } else { node.what() }));
        let entry = matches!(self.path.last(), Some(Step::Index(_)));
        let place = match &node.value {
            _ if node.is_null() && node.span.start == node.span.end && !entry => name,
            Value::Scalar { .. } => node.span,
            _ => head(node),
        };
        let problem = problem.at(place);
        self.findings.push(if let Some(hint) = hint { problem.hint(hint) } else { problem });
    }

    fn complain(&mut self, span: Span, complaint: Complaint) {
        if self.findings.only_counts() {
            return;
        }
        let message = format!("{}: {}", quoted(&Path(&self.path).to_string()), complaint.message);
        let problem = Diagnostic::error(message).at(span).label(complaint.label);
        self.findings.push(if let Some(hint) = complaint.hint { problem.hint(hint) } else { problem });
    }
}

/// The place that stands for a whole collection: its first key or entry, not all its lines.
pub(crate) fn head(node: &Node) -> Span {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => entries[0].0.span,
        Value::List(list) if !list.is_empty() => head(&list[0]),
        _ => node.span,
    }
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Text(format @ (Text::Env | Text::Bind | Text::Tmpfs | Text::Rlimit | Text::Duration | Text::Signal)) => {
            format!("a string: {}", format.name())
        }
        Kind::Text(_) => "a string".to_owned(),
        Kind::Word(words) => {
            format!("one of {}", words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", "))
        }
        Kind::WordOr(words, shape) => {
            format!("{}, or a map with the keys of {}", expected(&Kind::Word(words)), shape.title)
        }
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Integer(i64::MIN, i64::MAX) => "a whole number".to_owned(),
        Kind::Integer(min, max) => format!("a whole number, {}", values::range(*min, *max)),
        Kind::Id => "a number or a name".to_owned(),
        Kind::Mode => "octal permission bits such as \"0644\"".to_owned(),
        Kind::List(kind) => expected_list(kind),
        Kind::OneOrMore(kind) => format!("{}, or {}", expected(kind), expected_list(kind)),
        Kind::Map(shape) => format!("a map with the keys of {}", shape.title),
        Kind::Table(_) => "a map".to_owned(),
    }
}

fn expected_list(kind: &Kind) -> String {
    match kind {
        Kind::Text(_) => "a list of strings".to_owned(),
        Kind::Map(_) | Kind::Table(_) => "a list of maps".to_owned(),
        _ => "a list".to_owned(),
    }
}
