//! `tests:`.

use crate::keys::CHECK;
use std::rc::Rc;

use super::{Reader, flag, integer, items, strings, text, texts};
use crate::findings::Findings;
use crate::node::Node;
use crate::validate::head;
use crate::values::quoted;
use crate::{Diagnostic, Expectation, FileContent, Spec, Test, TestCheck, nearest, values};

/// What a check may look at.
const KINDS: [&str; 7] = ["exec", "http", "tcp", "console", "file", "service", "reboot"];

impl Reader<'_> {
    pub(super) fn tests(&mut self, root: &Node) -> Vec<Test> {
        let read = |node: &Rc<Node>| {
            let size = |node: &Node| values::size(node.text()?).ok();
            Some(Test {
                name: text(node, "name")?,
                memory: node.get("memory").and_then(size),
                cpus: integer(node, "cpus").and_then(|number| number.try_into().ok()),
                disks: items(node, "disks").iter().filter_map(|node| size(node)).collect(),
                uefi: flag(node, "uefi").is_some_and(|flag| *flag),
                size: node.get("size").and_then(size),
                timeout: super::supervision::duration(node, "timeout"),
                formats: texts(node, "formats").unwrap_or_default(),
                ready: string(node, "ready"),
                checks: items(node, "checks").iter().filter_map(|node| self.test_check(node)).collect(),
            })
        };
        items(root, "tests").iter().filter_map(read).collect()
    }

    fn test_check(&mut self, node: &Node) -> Option<TestCheck> {
        let said = |kind: &&str| match node.entries().iter().find(|(name, _)| &*name.text == *kind) {
            Some((_, value)) if *kind == "reboot" => value.is_null() || flag(node, kind).is_some_and(|flag| *flag),
            found => found.is_some(),
        };
        let said: Vec<&str> = KINDS.into_iter().filter(said).collect();
        let [kind] = said[..] else {
            if said.is_empty() && node.entries().iter().any(|(name, _)| CHECK.find(&name.text).is_none()) {
                // A misspelt one, which has been said.
                return None;
            }
            let all = KINDS.map(|kind| format!("`{kind}`")).join(", ");
            let problem = match said[..] {
                [] => Diagnostic::error("a check does not say what to look at")
                    .at(head(node))
                    .label(format!("needs one of {all}")),
                _ => Diagnostic::error(format!("a check looks at one thing, and this one at {}", said.len()))
                    .at(head(node))
                    .label("make an entry of each"),
            };
            self.findings.push(problem);
            return None;
        };
        let what = match (kind, node.get(kind)) {
            ("reboot", _) => Expectation::Reboot,
            ("console", Some(line)) => Expectation::Console(line.text()?.to_owned()),
            (_, Some(node)) => self.expectation(kind, node)?,
            (_, None) => return None,
        };
        let within = super::supervision::duration(node, "within");
        Some(TestCheck { name: string(node, "name"), within, what, span: head(node) })
    }

    fn expectation(&mut self, kind: &str, node: &Node) -> Option<Expectation> {
        let port = || integer(node, "port").and_then(|port| port.try_into().ok());
        Some(match kind {
            "exec" => {
                let command = strings(node, "command")?;
                if command.is_empty() {
                    let problem = Diagnostic::error("`exec.command` is empty").at(node.get("command")?.span);
                    self.findings.push(problem.label("a program and its arguments are expected"));
                    return None;
                }
                let code = integer(node, "code").map_or(Some(0), |code| code.try_into().ok())?;
                let (stdout, stderr) = (string(node, "stdout"), string(node, "stderr"));
                Expectation::Exec { service: text(node, "service")?, command, code, stdout, stderr }
            }
            "http" => Expectation::Http {
                port: port()?,
                path: string(node, "path").unwrap_or_else(|| "/".to_owned()),
                status: integer(node, "status").map_or(Some(200), |status| status.try_into().ok())?,
                contains: string(node, "contains"),
                header: match node.get("header") {
                    Some(header) => Some(self.header(header)?),
                    None => None,
                },
            },
            "tcp" => Expectation::Tcp {
                port: port()?,
                send: string(node, "send").unwrap_or_default(),
                contains: string(node, "contains")?,
            },
            "file" => Expectation::File {
                service: text(node, "service"),
                path: string(node, "path")?,
                content: self.content(node)?,
            },
            _ => Expectation::Service {
                name: text(node, "name")?,
                state: string(node, "state").unwrap_or_else(|| "ready".to_owned()),
                restarts: integer(node, "restarts").and_then(|number| number.try_into().ok()),
            },
        })
    }

    fn header(&mut self, node: &Node) -> Option<(String, String)> {
        let written = node.text()?;
        let found = written.split_once(':').map(|(name, text)| (name.trim().to_owned(), text.trim().to_owned()));
        let found = found.filter(|(name, text)| !name.is_empty() && !text.is_empty());
        if found.is_none() {
            let problem = Diagnostic::error(format!("{} is no header", quoted(written))).at(node.span);
            self.findings.push(problem.label("`NAME: TEXT` is expected"));
        }
        found
    }

    fn content(&mut self, node: &Node) -> Option<FileContent> {
        let absent = flag(node, "absent").is_some_and(|flag| *flag);
        Some(match (string(node, "contains"), string(node, "equals"), absent) {
            (None, None, false) => FileContent::Any,
            (Some(text), None, false) => FileContent::Contains(text),
            (None, Some(text), false) => FileContent::Equals(text),
            (None, None, true) => FileContent::Absent,
            _ => {
                let problem = Diagnostic::error("`file` says more than once what it must be").at(head(node));
                self.findings.push(problem.label("only one of `contains`, `equals` and `absent`"));
                return None;
            }
        })
    }
}

/// Containers that checks name and the spec has not.
pub(crate) fn check(spec: &Spec, findings: &mut Findings) {
    let services: Vec<&str> = spec.services.iter().map(|service| service.name.as_str()).collect();
    let onboot = spec.onboot.iter().map(|container| container.name.as_str());
    let all: Vec<&str> = services.iter().copied().chain(onboot).collect();
    for check in spec.tests.iter().flat_map(|test| &test.checks) {
        let (name, known, what) = match &check.what {
            Expectation::Exec { service, .. } | Expectation::File { service: Some(service), .. } => {
                (service, &services, "service")
            }
            Expectation::Service { name, .. } => (name, &all, "container"),
            _ => continue,
        };
        if known.contains(&name.as_str()) || findings.only_counts() {
            continue;
        }
        let label = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("the spec has no {what}s"),
            None => {
                let names = known.iter().take(20).map(|name| quoted(name)).collect::<Vec<_>>();
                format!("there are {}", names.join(", "))
            }
        };
        findings.push(Diagnostic::error(format!("there is no {what} {}", quoted(name))).at(name.span).label(label));
    }
}

fn string(node: &Node, key: &str) -> Option<String> {
    text(node, key).map(|text| text.value)
}
