//! A container whose `/dev` is the machine's.
//!
//! The library fills `/dev` with nodes and links whatever it is, which fails on the machine's own and would change it. runc
//! leaves a bound `/dev` alone. So the library gets a tmpfs to fill, and a hook in the container's mount namespace, before
//! the root is left, covers it with what the configuration asked for: the entry for `/dev` and those below it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::mounts::{self, Options};

/// Takes a bound `/dev` and what is mounted below it out of a list of mounts. What is taken, in its order, or nothing.
pub fn take_bound(mounts: &mut Vec<Value>) -> Vec<Value> {
    let destination = |mount: &Value| mount.get("destination").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_dev = |mount: &Value| destination(mount).trim_end_matches('/') == "/dev";
    if !mounts.iter().any(|m| is_dev(m) && is_bind(m)) {
        return Vec::new();
    }
    let (mut taken, mut left): (Vec<_>, Vec<_>) =
        mounts.drain(..).partition(|m| is_dev(m) || destination(m).starts_with("/dev/"));
    // `/dev` first, or it would hide what is mounted below it.
    taken.sort_by_key(|m| !is_dev(m));
    let options = json!(["nosuid", "mode=755", "size=64k"]);
    left.push(json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options}));
    *mounts = left;
    taken
}

fn is_bind(mount: &Value) -> bool {
    let kind = mount.get("type").and_then(Value::as_str);
    let options = mount.get("options").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    kind == Some("bind") || options.into_iter().any(|o| o == "bind" || o == "rbind")
}

/// The hook that mounts what was taken, which lies in a file, below a root.
pub fn hook(file: &Path, root: &Path) -> Value {
    json!({"path": "/proc/self/exe", "args": ["init", "mount-dev", file, root]})
}

/// Runs the hook.
pub fn run(file: &str, root: &str) -> ExitCode {
    let Ok(list) = fs::read(file) else { return ExitCode::FAILURE };
    let Ok(list) = serde_json::from_slice::<Vec<Map<String, Value>>>(&list) else { return ExitCode::FAILURE };
    for entry in list {
        let text = |key| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let options = entry.get("options").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let options: Vec<&str> = options.collect();
        let target = Path::new(root).join(text("destination").trim_start_matches('/'));
        if !target.exists() {
            let _ = fs::create_dir_all(&target);
        }
        if let Err(error) = mounts::mount(text("source"), &target, text("type"), &Options::parse(&options)) {
            eprintln!("mounting `{}`: {error}", text("destination"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(destination: &str, kind: &str, options: &[&str]) -> Value {
        json!({"destination": destination, "type": kind, "source": "x", "options": options})
    }

    #[test]
    fn a_bound_dev_and_what_is_below_it_are_taken_together() {
        let dev = mount("/dev", "bind", &["rbind", "rshared"]);
        let pts = mount("/dev/pts", "devpts", &[]);
        let mut mounts = vec![pts.clone(), mount("/proc", "proc", &[]), dev.clone()];
        assert_eq!(take_bound(&mut mounts), [dev, pts]);
        let left: Vec<_> =
            mounts.iter().map(|m| (m["destination"].as_str().unwrap(), m["type"].as_str().unwrap())).collect();
        assert_eq!(left, [("/proc", "proc"), ("/dev", "tmpfs")]);
    }

    #[test]
    fn an_ordinary_dev_stays() {
        let mut mounts = vec![mount("/dev", "tmpfs", &["nosuid"]), mount("/dev/x", "bind", &["bind"])];
        let before = mounts.clone();
        assert_eq!(take_bound(&mut mounts), Vec::<Value>::new());
        assert_eq!(mounts, before);
    }
}
