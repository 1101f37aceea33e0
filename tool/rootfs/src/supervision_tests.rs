//! What init is told of each container, and what of a spec's order cannot be.

use std::time::Duration;

use bootwright_bundle as bundle;
use bootwright_spec::{
    Check, ContainerConfig, Health, Kernel, OnFail, Ready, Restart, RestartPolicy, Spanned, Stop, Watchdog,
};
use serde_json::{Value, json};

use crate::testing::{Bench, container, json, spanned, text, texts, tree};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.image("app", &json!({"Cmd": ["/bin/sh"]}), tree(&["!bin/sh=#!/bin/sh"]));
    bench.image("nginx", &json!({"Cmd": ["/bin/sh"], "StopSignal": "SIGQUIT"}), tree(&["!bin/sh=#!/bin/sh"]));
    bench
}

/// What is written for a service; null if nothing.
fn written(image: &str, config: ContainerConfig) -> Value {
    let mut bench = bench();
    bench.spec.services = vec![container("web", image, config), container("db", "app", ContainerConfig::default())];
    let machine = bench.machine();
    let at = "containers/services/web/bootwright.json";
    if machine.tree.contains_key(&crate::testing::path(at)) { json(&machine, at) } else { Value::Null }
}

#[test]
fn only_what_differs_from_the_defaults_is_written() {
    let plain = ContainerConfig::default;
    let restart = |policy| Some(spanned(Restart { policy: Some(policy), ..Restart::default() }));
    let always = json!({"policy": "always", "delay_ms": 1000, "max_delay_ms": 30000, "window_ms": 600_000});
    for (image, config, expected) in [
        ("app", plain(), Value::Null),
        ("app", ContainerConfig { restart: restart(RestartPolicy::Always), ..plain() }, Value::Null),
        (
            "app",
            ContainerConfig { onfail: Some(spanned(OnFail::Retry)), ..plain() },
            json!({"version": 1, "onfail": "retry"}),
        ),
        (
            "app",
            ContainerConfig {
                onfail: Some(spanned(OnFail::Reboot)),
                restart: restart(RestartPolicy::Always),
                ..plain()
            },
            json!({"version": 2, "onfail": "reboot", "restart": always}),
        ),
        ("nginx", plain(), json!({"version": 2, "stop": {"signal": 3, "grace_ms": 10000}})),
        (
            "nginx",
            ContainerConfig { stop: Some(Stop { signal: Some(15), grace: Some(SECONDS(10)) }), ..plain() },
            Value::Null,
        ),
        (
            "app",
            ContainerConfig {
                restart: Some(spanned(Restart { delay: Some(SECONDS(60)), limit: Some(3), ..Restart::default() })),
                requires: texts(&["db"]),
                ready: Some(spanned(Ready { check: Check::Tcp(80), timeout: None })),
                health: Some(spanned(Health {
                    check: Check::Http { port: 80, path: "/".to_owned() },
                    interval: Some(SECONDS(2)),
                    timeout: None,
                    threshold: None,
                    start_period: None,
                })),
                ..plain()
            },
            json!({
                "version": 2,
                "restart": {
                    "policy": "always", "delay_ms": 60000, "max_delay_ms": 60000, "limit": 3, "window_ms": 600_000,
                },
                "requires": ["db"],
                "ready": {"check": {"tcp": 80}, "timeout_ms": 60000},
                "health": {
                    "check": {"http": {"port": 80, "path": "/"}}, "interval_ms": 2000, "timeout_ms": 5000,
                    "threshold": 3, "start_period_ms": 2000,
                },
            }),
        ),
    ] {
        assert_eq!(written(image, config), expected);
    }
}

/// Watched by what the service says itself.
fn pulse(timeout: Option<Duration>) -> Option<Spanned<Health>> {
    let (check, interval) = (Check::Notify, Some(SECONDS(2)));
    Some(spanned(Health { check, interval, timeout, threshold: None, start_period: None }))
}

#[test]
fn a_service_that_says_how_it_is_sees_a_socket() {
    let mut bench = bench();
    let ready = Some(spanned(Ready { check: Check::Notify, timeout: None }));
    let health = pulse(None);
    let plain = ContainerConfig::default;
    bench.spec.services = vec![
        container("web", "app", ContainerConfig { ready, ..plain() }),
        container("db", "app", ContainerConfig { health, ..plain() }),
    ];
    let machine = bench.machine();
    let db = json(&machine, "containers/services/db/config.json");
    let env = db["process"]["env"].as_array().unwrap();
    assert!(
        env.contains(&json!("NOTIFY_SOCKET=/run/bootwright/notify")) && env.contains(&json!("WATCHDOG_USEC=2000000"))
    );
    let config = json(&machine, "containers/services/web/config.json");
    let mount = config["mounts"].as_array().unwrap().last().unwrap();
    let source = format!("{}/web", bundle::NOTIFY_DIRECTORY);
    assert_eq!((&mount["destination"], &mount["source"]), (&json!("/run/bootwright"), &json!(source)));
    assert!(config["process"]["env"].as_array().unwrap().contains(&json!("NOTIFY_SOCKET=/run/bootwright/notify")));
    assert_eq!(json(&machine, "containers/services/web/runtime.json")["mkdir"], json!([source]));
}

#[test]
fn what_cannot_be_is_an_error() {
    let plain = ContainerConfig::default;
    let mut bench = bench();
    let restart = |max_delay| Some(spanned(Restart { max_delay, window: Some(SECONDS(1)), ..Restart::default() }));
    bench.spec.onboot = vec![
        container("early", "app", ContainerConfig { restart: restart(None), requires: texts(&["web"]), ..plain() }),
        container("beside", "app", ContainerConfig { parallel: Some(spanned(true)), ..plain() }),
    ];
    let on = |after: &[&str], requires: &[&str]| ContainerConfig {
        after: texts(after),
        requires: texts(requires),
        ..plain()
    };
    bench.spec.services = vec![
        container("web", "app", on(&["cache"], &[])),
        container("cache", "app", on(&[], &["store", "early", "stare", "cache", "nowhere"])),
        container("store", "app", on(&["web"], &[])),
        container("both", "app", ContainerConfig { parallel: Some(spanned(true)), ..plain() }),
        container("pulse", "app", ContainerConfig { health: pulse(Some(SECONDS(1))), ..plain() }),
        container(
            "twice",
            "app",
            ContainerConfig {
                onfail: Some(spanned(OnFail::Retry)),
                restart: restart(Some(Duration::from_millis(100))),
                ..plain()
            },
        ),
    ];
    let mut said = bench.assemble().map(drop).unwrap_err();
    said.sort();
    let services = "`both`, `cache`, `pulse`, `store`, `twice`, `web`";
    assert_eq!(
        said,
        [
            "error: `cache` is to start after itself",
            "error: `max-delay` is shorter than `delay`; the first pause is `delay`, and none is longer than `max-delay`",
            "error: `onfail: retry` beside `restart`: both say when it is started again; leave out `onfail`, or let it say \
             what follows when `restart` gives up",
            "error: `parallel` means nothing in `services`; it is for `onboot`",
            "error: `requires` means nothing in `onboot`; it is for `services`",
            "error: `restart` means nothing in `onboot`; it is for `services`",
            "error: services that start after each other never start: `web` after `cache` after `store` after `web`; leave \
             out one `after` or `requires` of them",
            "error: there is no service `early` to be named in `requires`; it is in `onboot`; only services wait for each \
             other",
            &format!("error: there is no service `nowhere` to be named in `requires`; services are {services}"),
            "error: there is no service `stare` to be named in `requires`; did you mean `store`?",
            "warning: `timeout` does nothing beside `notify`; the service has to say that it is well once in each `interval`",
            "warning: `window` does nothing without `limit`; say how often: `limit: 5`",
        ]
    );
}

#[test]
fn a_watchdog_is_a_word_on_the_command_line() {
    let said = |device: Option<&str>, timeout| {
        let mut bench = bench();
        bench.spec.kernel = Some(Kernel { cmdline: Some(text("quiet")), ..Kernel::default() });
        bench.spec.watchdog = Some(spanned(Watchdog { device: device.map(str::to_owned), timeout }));
        bench.assemble().map(|(machine, _)| machine.boot.cmdline)
    };
    assert_eq!(said(None, SECONDS(30)).unwrap(), "quiet bootwright.watchdog=30");
    assert_eq!(said(Some("/dev/watchdog1"), SECONDS(5)).unwrap(), "quiet bootwright.watchdog=5,/dev/watchdog1");
    let refused = said(None, Duration::from_millis(1500)).unwrap_err();
    assert!(refused[0].starts_with("error: the timeout of a watchdog is whole seconds"), "{refused:?}");
}
