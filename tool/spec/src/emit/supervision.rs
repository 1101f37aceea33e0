//! How a container, or the machine, is looked after, as a document again.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Members, string, text};
use crate::{Check, ContainerConfig, Health, OnFail, Ready, Restart, RestartPolicy, Stop, Watchdog, values};

pub(super) fn configure(config: &ContainerConfig, map: &mut Members) {
    map.put("onfail", config.onfail.as_ref().map(|action| string(on_fail(action.value))));
    map.put("restart", config.restart.as_ref().map(|restart| self::restart(&restart.value)));
    map.said("after", config.after.as_ref(), text);
    map.said("requires", config.requires.as_ref(), text);
    map.put("ready", config.ready.as_ref().map(|ready| self::ready(&ready.value)));
    map.put("health", config.health.as_ref().map(|health| self::health(&health.value)));
    map.put("stop", config.stop.as_ref().map(stop));
    map.put("parallel", config.parallel.as_ref().map(|flag| Json::Bool(flag.value)));
}

fn on_fail(action: OnFail) -> &'static str {
    match action {
        OnFail::Continue => "continue",
        OnFail::Retry => "retry",
        OnFail::Stop => "stop",
        OnFail::Reboot => "reboot",
        OnFail::Poweroff => "poweroff",
        OnFail::Shell => "shell",
    }
}

fn restart(restart: &Restart) -> Json {
    let policy = restart.policy.map(|policy| match policy {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "never",
    });
    if let (Some(word), true) = (policy, *restart == (Restart { policy: restart.policy, ..Restart::default() })) {
        return string(word);
    }
    let mut map = Members::default();
    map.put("policy", policy.map(string));
    map.put("delay", duration(restart.delay));
    map.put("max-delay", duration(restart.max_delay));
    map.put("limit", restart.limit.map(Json::from));
    map.put("window", duration(restart.window));
    map.json()
}

fn ready(ready: &Ready) -> Json {
    let mut map = Members::default();
    check(&ready.check, &mut map);
    map.put("timeout", duration(ready.timeout));
    map.json()
}

fn health(health: &Health) -> Json {
    let mut map = Members::default();
    check(&health.check, &mut map);
    map.put("interval", duration(health.interval));
    map.put("timeout", duration(health.timeout));
    map.put("threshold", health.threshold.map(Json::from));
    map.put("start-period", duration(health.start_period));
    map.json()
}

fn check(check: &Check, map: &mut Members) {
    let (key, value) = match check {
        Check::Exec(command) => ("exec", json!(command)),
        Check::Tcp(port) => ("tcp", json!(port)),
        Check::Http { port, path } => ("http", json!({"port": port, "path": path})),
        Check::File(path) => ("file", json!(path)),
        Check::Notify => ("notify", json!(true)),
    };
    map.put(key, Some(value));
}

fn stop(stop: &Stop) -> Json {
    let mut map = Members::default();
    map.put("signal", stop.signal.map(|number| Json::String(values::signal_text(number))));
    map.put("grace", duration(stop.grace));
    map.json()
}

pub(super) fn watchdog(watchdog: &Watchdog) -> Json {
    let mut map = Members::default();
    map.put("device", watchdog.device.as_deref().map(string));
    map.put("timeout", duration(Some(watchdog.timeout)));
    map.json()
}

pub(super) fn duration(duration: Option<Duration>) -> Option<Json> {
    duration.map(|duration| Json::String(values::duration_text(duration)))
}
