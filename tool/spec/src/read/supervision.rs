//! The keys that say how a container, or the machine, is looked after.

use std::time::Duration;

use super::{Reader, flag, integer, strings, text};
use crate::keys::{HEALTH, READY, Shape};
use crate::node::{Node, Value};
use crate::validate::head;
use crate::{Check, Diagnostic, Health, OnFail, Ready, Restart, RestartPolicy, Spanned, Stop, Watchdog, values};

impl Reader<'_> {
    pub(super) fn ready(&mut self, node: &Node) -> Option<Spanned<Ready>> {
        let check = self.check(node, &READY, &["exec", "tcp", "file", "notify"])?;
        Some(Spanned { value: Ready { check, timeout: duration(node, "timeout") }, span: head(node) })
    }

    pub(super) fn health(&mut self, node: &Node) -> Option<Spanned<Health>> {
        let value = Health {
            check: self.check(node, &HEALTH, &["exec", "tcp", "http", "notify"])?,
            interval: duration(node, "interval"),
            timeout: duration(node, "timeout"),
            threshold: number(node, "threshold"),
            start_period: duration(node, "start-period"),
        };
        Some(Spanned { value, span: head(node) })
    }

    /// Reads the one check that the key of a shape holds. `notify: false` is none.
    fn check(&mut self, node: &Node, shape: &Shape, kinds: &[&'static str]) -> Option<Check> {
        let Value::Map(entries) = &node.value else { return None };
        let key = shape.name;
        let off = |kind: &str| kind == "notify" && flag(node, kind).is_some_and(|flag| !*flag);
        let said: Vec<&str> = kinds.iter().copied().filter(|kind| node.get(kind).is_some() && !off(kind)).collect();
        let [kind] = said[..] else {
            if said.is_empty() && entries.iter().any(|(name, _)| shape.find(&name.text).is_none()) {
                // A misspelt one, which has been said.
                return None;
            }
            let all = kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
            let problem = match said[..] {
                [] => Diagnostic::error(format!("`{key}` does not say what to look for"))
                    .at(head(node))
                    .label(format!("needs one of {all}")),
                [_, second, ..] => Diagnostic::error(format!("`{key}` says more than once what to look for"))
                    .at(node.get(second).map_or_else(|| head(node), head))
                    .label(format!("only one of {all}")),
                [_] => return None,
            };
            self.findings.push(problem);
            return None;
        };
        match kind {
            "exec" => {
                let command = strings(node, kind)?;
                if command.is_empty() {
                    let problem = Diagnostic::error(format!("`{key}.exec` is empty")).at(node.get(kind)?.span);
                    self.findings.push(problem.label("a command and its arguments are expected"));
                    return None;
                }
                Some(Check::Exec(command))
            }
            "tcp" => Some(Check::Tcp(port(node, kind)?)),
            "http" => {
                let page = node.get(kind)?;
                let path = text(page, "path").map_or_else(|| "/".to_owned(), |path| path.value);
                Some(Check::Http { port: port(page, "port")?, path })
            }
            "file" => Some(Check::File(text(node, kind)?.value)),
            _ => Some(Check::Notify),
        }
    }
}

pub(super) fn restart(node: &Node) -> Option<Spanned<Restart>> {
    let (value, span) = match &node.value {
        Value::Map(_) => (
            Restart {
                policy: text(node, "policy").and_then(|word| policy(&word)),
                delay: duration(node, "delay"),
                max_delay: duration(node, "max-delay"),
                limit: number(node, "limit"),
                window: duration(node, "window"),
            },
            head(node),
        ),
        _ => (Restart { policy: Some(policy(node.text()?)?), ..Restart::default() }, node.span),
    };
    Some(Spanned { value, span })
}

fn policy(word: &str) -> Option<RestartPolicy> {
    Some(match word {
        "always" => RestartPolicy::Always,
        "on-failure" => RestartPolicy::OnFailure,
        "never" => RestartPolicy::Never,
        _ => return None,
    })
}

pub(super) fn stop(node: &Node) -> Option<Stop> {
    let Value::Map(_) = &node.value else { return None };
    let signal = text(node, "signal").and_then(|text| values::signal(&text).ok());
    Some(Stop { signal, grace: duration(node, "grace") })
}

pub(super) fn watchdog(node: &Node) -> Option<Spanned<Watchdog>> {
    let device = text(node, "device").map(|device| device.value);
    Some(Spanned { value: Watchdog { device, timeout: duration(node, "timeout")? }, span: head(node) })
}

/// The word of `onfail`.
pub(super) fn on_fail(word: &str) -> Option<OnFail> {
    Some(match word {
        "continue" => OnFail::Continue,
        "retry" => OnFail::Retry,
        "stop" => OnFail::Stop,
        "reboot" => OnFail::Reboot,
        "poweroff" => OnFail::Poweroff,
        "shell" => OnFail::Shell,
        _ => return None,
    })
}

pub(super) fn duration(node: &Node, key: &str) -> Option<Duration> {
    values::duration(node.get(key)?.text()?).ok()
}

fn port(node: &Node, key: &str) -> Option<u16> {
    integer(node, key)?.try_into().ok()
}

fn number(node: &Node, key: &str) -> Option<u32> {
    integer(node, key)?.try_into().ok()
}
