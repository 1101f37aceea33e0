//! `tests:` as a document again.

use serde_json::{Value as Json, json};

use super::supervision::duration;
use super::{Members, string, text};
use crate::{Expectation, FileContent, Test, TestCheck};

pub(super) fn test(test: &Test) -> Json {
    let mut map = Members::default();
    map.put("name", Some(text(&test.name)));
    map.put("memory", test.memory.map(Json::from));
    map.put("cpus", test.cpus.map(Json::from));
    map.list("disks", &test.disks, |bytes| Json::from(*bytes));
    map.put("uefi", test.uefi.then_some(Json::Bool(true)));
    map.put("size", test.size.map(Json::from));
    map.put("timeout", duration(test.timeout));
    map.list("formats", &test.formats, text);
    map.put("ready", test.ready.as_deref().map(string));
    map.list("checks", &test.checks, check);
    map.json()
}

fn check(check: &TestCheck) -> Json {
    let mut map = Members::default();
    map.put("name", check.name.as_deref().map(string));
    let (key, value) = expectation(&check.what);
    map.put(key, Some(value));
    map.put("within", duration(check.within));
    map.json()
}

fn expectation(what: &Expectation) -> (&'static str, Json) {
    let mut map = Members::default();
    let optional = |text: &Option<String>| text.as_deref().map(string);
    let key = match what {
        Expectation::Exec { service, command, code, stdout, stderr } => {
            map.put("service", Some(text(service)));
            map.put("command", Some(json!(command)));
            map.put("code", Some(json!(code)));
            map.put("stdout", optional(stdout));
            map.put("stderr", optional(stderr));
            "exec"
        }
        Expectation::Http { port, path, status, contains, header } => {
            map.put("port", Some(json!(port)));
            map.put("path", Some(string(path)));
            map.put("status", Some(json!(status)));
            map.put("contains", optional(contains));
            map.put("header", header.as_ref().map(|(name, text)| Json::String(format!("{name}: {text}"))));
            "http"
        }
        Expectation::Tcp { port, send, contains } => {
            map.put("port", Some(json!(port)));
            map.put("send", Some(string(send)).filter(|_| !send.is_empty()));
            map.put("contains", Some(string(contains)));
            "tcp"
        }
        Expectation::Console(line) => return ("console", string(line)),
        Expectation::File { service, path, content } => {
            map.put("service", service.as_ref().map(text));
            map.put("path", Some(string(path)));
            match content {
                FileContent::Any => {}
                FileContent::Contains(text) => map.put("contains", Some(string(text))),
                FileContent::Equals(text) => map.put("equals", Some(string(text))),
                FileContent::Absent => map.put("absent", Some(Json::Bool(true))),
            }
            "file"
        }
        Expectation::Service { name, state, restarts } => {
            map.put("name", Some(text(name)));
            map.put("state", Some(string(state)));
            map.put("restarts", restarts.map(Json::from));
            "service"
        }
        Expectation::Reboot => return ("reboot", Json::Bool(true)),
    };
    (key, map.json())
}
