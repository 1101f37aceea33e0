//! Device nodes of a container and the rules of its device cgroup.
//!
//! The rules start with Docker's: nothing, then making any node, then the devices that every container has. What the spec
//! asks for comes behind. Runtimes add the same defaults by themselves; written out they hold for every runtime.

use bootwright_spec::ContainerConfig;
use serde_json::{Map, Value, json};

use crate::config_json::Device;
use crate::problems::{Describe, Problems};

/// `null zero full random urandom tty console ptmx pts/*`, as type, major, minor.
const USUAL: [(&str, i64, Option<i64>); 9] = [
    ("c", 1, Some(3)),
    ("c", 1, Some(5)),
    ("c", 1, Some(7)),
    ("c", 1, Some(8)),
    ("c", 1, Some(9)),
    ("c", 5, Some(0)),
    ("c", 5, Some(1)),
    ("c", 5, Some(2)),
    ("c", 136, None),
];

/// Nodes to make, and `linux.resources` with the rules.
pub(crate) fn devices(config: &ContainerConfig, privileged: bool, problems: &mut Problems) -> (Vec<Device>, Value) {
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    if privileged {
        rules.push(json!({"allow": true, "type": "a", "access": "rwm"}));
    } else {
        rules.push(rule("c", None, None, "m"));
        rules.push(rule("b", None, None, "m"));
        rules.extend(USUAL.iter().map(|(kind, major, minor)| rule(kind, Some(*major), *minor, "rwm")));
    }
    let mut resources = match config.resources.as_ref().map(|r| r.value.clone()) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => {
            problems.error(config.resources.as_ref().map(|r| r.span), "`resources` is not a map");
            Map::new()
        }
    };
    if let Some(Value::Array(own)) = resources.remove("devices") {
        rules.extend(own);
    }
    let mut nodes = Vec::new();
    for device in config.devices.iter().flatten() {
        let known = |number: i64| (number > 0).then_some(number);
        if device.path.value == "all" {
            // Every device of a type, or of a major; `a` where no type is named.
            let kind = if device.kind.is_empty() { "a" } else { &device.kind };
            let (major, minor) = (known(device.major), known(device.minor));
            rules.push(rule(kind, major, minor.filter(|_| major.is_some()), "rwm"));
            continue;
        }
        if !device.path.starts_with("/dev/") {
            problems
                .error(Some(device.path.span), format!("device `{}` does not lie below /dev", device.path.value))
                .hint("write its path in the container, such as `/dev/console`, or `all`");
        }
        rules.push(rule(&device.kind, Some(device.major), Some(device.minor), "rwm"));
        nodes.push(Device {
            path: device.path.value.clone(),
            kind: device.kind.clone(),
            major: device.major,
            minor: device.minor,
            file_mode: device.mode,
        });
    }
    let mut out = Map::from_iter([("devices".to_owned(), Value::Array(rules))]);
    out.extend(resources);
    (nodes, Value::Object(out))
}

fn rule(kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> Value {
    let mut rule = Map::from_iter([("allow".to_owned(), json!(true)), ("type".to_owned(), json!(kind))]);
    rule.extend(major.map(|n| ("major".to_owned(), json!(n))));
    rule.extend(minor.map(|n| ("minor".to_owned(), json!(n))));
    rule.insert("access".to_owned(), json!(access));
    Value::Object(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{spanned, text};

    #[test]
    fn nothing_is_allowed_but_the_usual_and_what_is_asked_for() {
        let device = |path: &str, kind: &str, major, minor, mode| bootwright_spec::Device {
            path: text(path),
            kind: kind.to_owned(),
            major,
            minor,
            mode,
        };
        let config = ContainerConfig {
            devices: Some(vec![
                device("/dev/tty1", "c", 4, 1, Some(0o620)),
                device("all", "b", 0, 0, None),
                device("all", "b", 8, 0, None),
            ]),
            resources: Some(spanned(json!({"memory": {"limit": 5}, "devices": [{"allow": false, "type": "c"}]}))),
            ..ContainerConfig::default()
        };
        let mut problems = Problems::default();
        let (nodes, resources) = devices(&config, false, &mut problems);
        assert_eq!(nodes.len(), 1);
        assert_eq!((nodes[0].path.as_str(), nodes[0].file_mode), ("/dev/tty1", Some(0o620)));
        let rules = resources["devices"].as_array().unwrap();
        assert_eq!(rules[0], json!({"allow": false, "access": "rwm"}));
        assert_eq!(rules[3], json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}));
        assert_eq!(
            rules[rules.len() - 4..],
            [
                json!({"allow": false, "type": "c"}),
                json!({"allow": true, "type": "c", "major": 4, "minor": 1, "access": "rwm"}),
                json!({"allow": true, "type": "b", "access": "rwm"}),
                // LinuxKit drops the major of `all`.
                json!({"allow": true, "type": "b", "major": 8, "access": "rwm"}),
            ]
        );
        assert_eq!(resources["memory"]["limit"], 5);
        let (_, resources) = devices(&ContainerConfig::default(), true, &mut problems);
        assert_eq!(resources["devices"][1], json!({"allow": true, "type": "a", "access": "rwm"}));
        assert!(!problems.finish().has_errors());
    }
}
