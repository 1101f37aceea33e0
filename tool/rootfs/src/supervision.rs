//! How each container is looked after: `bootwright.json`, the sd_notify socket, and the order of the services.
//!
//! Only what differs from init's defaults is written, so that a spec that says nothing of it keeps its bytes. What makes sense
//! in another section only is an error where the spec says it, and passed over where a label does: an image may be used
//! as a service here and at boot there.

use std::collections::BTreeMap;
use std::time::Duration;

use bootwright_bundle as bundle;
use bootwright_spec::{Check, Health, Landlock, OnFail, Ready, Restart, RestartPolicy, Span, Spanned, nearest};

use crate::config_json::{Config, Mount};
use crate::effective::{Effective, Section};
use crate::problems::{Describe, Problems};

/// What init is told of a container; none if nothing.
pub(crate) fn of(container: &Effective<'_>, problems: &mut Problems) -> Option<bundle::Supervision> {
    misplaced(container, problems);
    let config = &container.config;
    let service = container.section == Section::Services;
    let names = |list: &Option<Vec<Spanned<String>>>| {
        list.iter().flatten().filter(|_| service).map(|name| name.value.clone()).collect()
    };
    let said = bundle::Supervision {
        onfail: config.onfail.map(|onfail| on_fail(onfail.value)),
        landlock: config.landlock.as_ref().map(|given| landlock(&given.value)),
        restart: config.restart.as_ref().filter(|_| service).map(|r| restart(r, problems)),
        after: names(&config.after),
        requires: names(&config.requires),
        ready: config.ready.as_ref().filter(|_| service).map(|ready| self::ready(ready)),
        health: config.health.as_ref().filter(|_| service).map(|health| self::health(health, problems)),
        stop: Some(stop(container, problems)).filter(|stop| *stop != bundle::Stop::default()),
        parallel: container.section == Section::Onboot && config.parallel.is_some_and(|parallel| parallel.value),
        ..bundle::Supervision::default()
    };
    // The default, which only an `onfail` beside it would change.
    let usual = said.onfail.is_none() && said.restart == Some(bundle::Restart::default());
    bundle::Supervision { restart: said.restart.filter(|_| !usual), ..said }.versioned()
}

/// What the spec says in a section where it means nothing.
fn misplaced(container: &Effective<'_>, problems: &mut Problems) {
    let own = &container.container.config;
    let first = |list: &Option<Vec<Spanned<String>>>| list.as_ref().map(|list| list.first().map(|name| name.span));
    let said = [
        ("restart", own.restart.as_ref().map(|restart| Some(restart.span)), Section::Services),
        ("after", first(&own.after), Section::Services),
        ("requires", first(&own.requires), Section::Services),
        ("ready", own.ready.as_ref().map(|ready| Some(ready.span)), Section::Services),
        ("health", own.health.as_ref().map(|health| Some(health.span)), Section::Services),
        ("parallel", own.parallel.map(|parallel| Some(parallel.span)), Section::Onboot),
    ];
    for (key, place, section) in said {
        if let (Some(place), true) = (place, container.section != section) {
            let place = place.unwrap_or(container.container.span);
            let message = format!("`{key}` means nothing in `{}`", container.section.name());
            problems.error(Some(place), message).hint(format!("it is for `{}`", section.name()));
        }
    }
    let retry = own.onfail.filter(|onfail| onfail.value == OnFail::Retry && own.restart.is_some());
    if let Some(onfail) = retry {
        problems
            .error(Some(onfail.span), "`onfail: retry` beside `restart`: both say when it is started again")
            .hint("leave out `onfail`, or let it say what follows when `restart` gives up");
    }
}

fn on_fail(onfail: OnFail) -> bundle::OnFail {
    match onfail {
        OnFail::Continue => bundle::OnFail::Continue,
        OnFail::Retry => bundle::OnFail::Retry,
        OnFail::Stop => bundle::OnFail::Stop,
        OnFail::Reboot => bundle::OnFail::Reboot,
        OnFail::Poweroff => bundle::OnFail::Poweroff,
        OnFail::Shell => bundle::OnFail::Shell,
    }
}

fn landlock(said: &Landlock) -> bundle::Landlock {
    let Landlock { read, write, execute } = said.clone();
    bundle::Landlock { read, write, execute }
}

fn restart(said: &Spanned<Restart>, problems: &mut Problems) -> bundle::Restart {
    let usual = bundle::Restart::default();
    let delay = said.delay.unwrap_or(usual.delay);
    if said.max_delay.is_some_and(|longest| longest < delay) {
        problems
            .error(Some(said.span), "`max-delay` is shorter than `delay`")
            .hint("the first pause is `delay`, and none is longer than `max-delay`");
    }
    if let (None, Some(_)) = (said.limit, said.window) {
        problems.warning(Some(said.span), "`window` does nothing without `limit`").hint("say how often: `limit: 5`");
    }
    bundle::Restart {
        policy: match said.policy {
            None | Some(RestartPolicy::Always) => bundle::RestartPolicy::Always,
            Some(RestartPolicy::OnFailure) => bundle::RestartPolicy::OnFailure,
            Some(RestartPolicy::Never) => bundle::RestartPolicy::Never,
        },
        delay,
        max_delay: said.max_delay.unwrap_or_else(|| usual.max_delay.max(delay)),
        limit: said.limit,
        window: said.window.unwrap_or(usual.window),
    }
}

fn ready(said: &Ready) -> bundle::Ready {
    bundle::Ready { check: check(&said.check), timeout: said.timeout.unwrap_or(bundle::Ready::TIMEOUT) }
}

fn health(said: &Spanned<Health>, problems: &mut Problems) -> bundle::Health {
    if said.check == Check::Notify && said.timeout.is_some() {
        problems
            .warning(Some(said.span), "`timeout` does nothing beside `notify`")
            .hint("the service has to say that it is well once in each `interval`");
    }
    let interval = said.interval.unwrap_or(bundle::Health::INTERVAL);
    bundle::Health {
        check: check(&said.check),
        interval,
        timeout: said.timeout.unwrap_or(bundle::Health::TIMEOUT),
        threshold: said.threshold.unwrap_or(bundle::Health::THRESHOLD),
        start_period: said.start_period.unwrap_or(interval),
    }
}

fn check(said: &Check) -> bundle::Check {
    match said {
        Check::Exec(command) => bundle::Check::Exec(command.clone()),
        Check::Tcp(port) => bundle::Check::Tcp(*port),
        Check::Http { port, path } => bundle::Check::Http { port: *port, path: path.clone() },
        Check::File(path) => bundle::Check::File(path.clone()),
        Check::Notify => bundle::Check::Notify,
    }
}

fn stop(container: &Effective<'_>, problems: &mut Problems) -> bundle::Stop {
    let usual = bundle::Stop::default();
    let said = container.config.stop.unwrap_or_default();
    let images = container.stop_signal().and_then(|text| {
        let signal = bootwright_spec::signal(text);
        if signal.is_none() && said.signal.is_none() {
            let message = format!("this image says that it is stopped by `{text}`, which is no signal");
            let place = Some(container.container.image.span);
            problems.warning(place, message).hint("it gets SIGTERM; say what it takes: `stop: {signal: SIGQUIT}`");
        }
        signal
    });
    bundle::Stop { signal: said.signal.or(images).unwrap_or(usual.signal), grace: said.grace.unwrap_or(usual.grace) }
}

/// Whether a container says itself how it is.
fn notifies(container: &Effective<'_>) -> bool {
    let ready = container.config.ready.as_ref().map(|ready| &ready.check);
    container.section == Section::Services && (ready == Some(&Check::Notify) || pulse(container).is_some())
}

/// How often a service has to say that it is well.
fn pulse(container: &Effective<'_>) -> Option<Duration> {
    let health = container.config.health.as_ref().filter(|health| health.check == Check::Notify)?;
    Some(health.interval.unwrap_or(bundle::Health::INTERVAL))
}

/// The directory of a container's sd_notify socket. Init makes it; another init is told to.
pub(crate) fn notify_directory(container: &Effective<'_>) -> Option<String> {
    notifies(container).then(|| format!("{}/{}", bundle::NOTIFY_DIRECTORY, container.container.name.value))
}

/// Shows a container that directory, and says where.
pub(crate) fn bind_notify(container: &Effective<'_>, config: &mut Config) {
    let Some(source) = notify_directory(container) else { return };
    config.mounts.push(Mount {
        destination: bundle::NOTIFY_MOUNT.to_owned(),
        kind: "bind".to_owned(),
        source,
        options: vec!["bind".to_owned(), "ro".to_owned()],
    });
    config.process.env.push(format!("NOTIFY_SOCKET={}/{}", bundle::NOTIFY_MOUNT, bundle::NOTIFY_SOCKET));
    config.process.env.extend(pulse(container).map(|pulse| format!("WATCHDOG_USEC={}", pulse.as_micros())));
}

/// Whether the services can start in the order that they ask for.
pub(crate) fn check_order(containers: &[Effective<'_>], problems: &mut Problems) {
    let services: Vec<&Effective<'_>> = containers.iter().filter(|c| c.section == Section::Services).collect();
    let names: BTreeMap<&str, usize> =
        services.iter().enumerate().map(|(i, service)| (service.container.name.value.as_str(), i)).collect();
    let mut graph: Vec<Vec<(usize, Span)>> = vec![Vec::new(); services.len()];
    for (i, service) in services.iter().enumerate() {
        for (key, name) in before(service) {
            match names.get(name.value.as_str()) {
                Some(other) if *other == i => {
                    problems.error(Some(name.span), format!("`{}` is to start after itself", name.value));
                }
                Some(other) => graph[i].push((*other, name.span)),
                None => unknown(key, name, &names, containers, problems),
            }
        }
    }
    if let Some(circle) = circle(&graph) {
        let (_, place) =
            graph[circle[0]].iter().find(|(to, _)| Some(to) == circle.get(1)).unwrap_or(&graph[circle[0]][0]);
        let way: Vec<String> = circle.iter().map(|i| format!("`{}`", services[*i].container.name.value)).collect();
        let message = format!("services that start after each other never start: {}", way.join(" after "));
        problems.error(Some(*place), message).hint("leave out one `after` or `requires` of them");
    }
}

fn before<'a>(service: &'a Effective<'_>) -> impl Iterator<Item = (&'static str, &'a Spanned<String>)> {
    let after = service.config.after.iter().flatten().map(|name| ("after", name));
    after.chain(service.config.requires.iter().flatten().map(|name| ("requires", name)))
}

fn unknown(
    key: &str,
    name: &Spanned<String>,
    services: &BTreeMap<&str, usize>,
    containers: &[Effective<'_>],
    problems: &mut Problems,
) {
    let elsewhere = containers.iter().find(|c| c.container.name.value == name.value);
    let error = problems.error(Some(name.span), format!("there is no service `{}` to be named in `{key}`", name.value));
    match (elsewhere, nearest(&name.value, services.keys().copied())) {
        (Some(other), _) => {
            error.hint(format!("it is in `{}`; only services wait for each other", other.section.name()));
        }
        (None, Some(near)) => {
            error.hint(format!("did you mean `{near}`?"));
        }
        (None, None) => {
            let names = services.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            error.hint(format!("services are {}", names.join(", ")));
        }
    }
}

/// A way through the graph that comes back to where it began, the first one twice; none if there is none.
fn circle(graph: &[Vec<(usize, Span)>]) -> Option<Vec<usize>> {
    // What has been left: nothing below it leads into a circle.
    let mut done = vec![false; graph.len()];
    for start in 0..graph.len() {
        // The way that is open, each with the number of edges that were followed.
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((node, followed)) = way.last_mut() {
            let Some((next, _)) = graph[*node].get(*followed).filter(|_| !done[*node]) else {
                done[*node] = true;
                way.pop();
                continue;
            };
            *followed += 1;
            if let Some(at) = way.iter().position(|(open, _)| open == next) {
                return Some(way[at..].iter().map(|(node, _)| *node).chain([*next]).collect());
            }
            way.push((*next, 0));
        }
    }
    None
}

#[cfg(test)]
#[path = "supervision_tests.rs"]
mod tests;
