//! What binds a container's processes beside namespaces and capabilities: its seccomp filter and its Landlock, for its own process
//! and for those that join it, as a probe or `ctl exec` does.
//!
//! The library would lay a filter on the container's own process only, and make it with libseccomp, which takes half of a start.
//! So it is told of none; ours goes on as the last thing before the process waits to be started. Without no-new-privileges that
//! takes CAP_SYS_ADMIN, and by then the library has taken capabilities away. It is told to leave two more, and they go when
//! the filter is there.

use bootwright_bundle::Landlock;
use bootwright_seccomp::Program;
use libcontainer::capabilities::drop_privileges;
use libcontainer::oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Spec};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::default::get_executor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::landlock::restrict;
use crate::sys;

/// What it takes to install a filter, and to give that up again.
const NEEDED: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SETPCAP"];

/// Starts a program within what binds a container.
#[derive(Clone, Default)]
pub struct Confined {
    filter: Option<Program>,
    landlock: Option<Landlock>,
    /// What is left of the capabilities when the filter is there; none: what there is.
    capabilities: Option<LinuxCapabilities>,
}

impl Executor for Confined {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        get_executor().exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        get_executor().validate(spec)?;
        self.bind().map_err(ExecutorValidationError::ArgValidationError)
    }
}

impl Confined {
    /// Binds a process as `linux.seccomp` and Landlock say, and lends it the capabilities that this takes.
    pub fn new(seccomp: Option<&Value>, landlock: Option<Landlock>, process: &mut Value) -> Result<Self, String> {
        let Some(seccomp) = seccomp.filter(|seccomp| !seccomp.is_null()) else {
            return Ok(Self { landlock, ..Self::default() });
        };
        let failed = |error: serde_json::Error| format!("the container's configuration: {error}");
        let seccomp = LinuxSeccomp::deserialize(seccomp).map_err(failed)?;
        let filter = Program::compile(&seccomp).map_err(|error| format!("the seccomp filter: {error}"))?;
        let bare = process.get("noNewPrivileges") != Some(&json!(true));
        let capabilities = bare.then(|| lend(process)).transpose().map_err(failed)?;
        Ok(Self { filter: Some(filter), capabilities, landlock })
    }

    fn bind(&self) -> Result<(), String> {
        if let Some(filter) = &self.filter {
            sys::install_filter(filter).map_err(|error| format!("the seccomp filter: {error}"))?;
        }
        if let Some(landlock) = &self.landlock {
            restrict(landlock)?;
        }
        if let Some(left) = &self.capabilities {
            drop_privileges(left, create_syscall().as_ref()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Adds what installing takes to a process's capabilities; those that it had.
fn lend(process: &mut Value) -> Result<LinuxCapabilities, serde_json::Error> {
    let own = process.get("capabilities").cloned().unwrap_or_else(|| json!({}));
    let Value::Object(process) = process else { return serde_json::from_value(own) };
    let mut lent = own.clone();
    for set in ["bounding", "permitted", "effective"] {
        let mut names: Vec<Value> = own.get(set).and_then(Value::as_array).cloned().unwrap_or_default();
        names.extend(NEEDED.map(Value::from).into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
        if let Value::Object(lent) = &mut lent {
            lent.insert(set.to_owned(), Value::from(names));
        }
    }
    process.insert("capabilities".to_owned(), lent);
    let whole = |set: &str| own.get(set).cloned().unwrap_or_else(|| json!([]));
    let sets = ["bounding", "effective", "inheritable", "permitted", "ambient"].map(|set| (set.to_owned(), whole(set)));
    serde_json::from_value(Value::Object(sets.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(config: &Value) -> Result<Value, String> {
        let mut process = config["process"].clone();
        Confined::new(config.pointer("/linux/seccomp"), None, &mut process).map(|_| process)
    }

    #[test]
    fn what_it_takes_to_install_a_filter_is_lent_where_it_is_needed() {
        let own = json!({"bounding": ["CAP_CHOWN"], "effective": ["CAP_SYS_ADMIN"]});
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        let config =
            |nnp: bool, linux: Value| json!({"process": {"noNewPrivileges": nnp, "capabilities": own}, "linux": linux});
        for (nnp, linux) in [(true, json!({"seccomp": seccomp})), (false, json!({})), (false, json!({"seccomp": null}))]
        {
            let config = config(nnp, linux);
            assert_eq!(joined(&config).unwrap(), config["process"]);
        }
        let lent = joined(&config(false, json!({"seccomp": seccomp}))).unwrap()["capabilities"].clone();
        assert_eq!(lent["bounding"], json!(["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_SETPCAP"]));
        assert_eq!(lent["effective"], json!(["CAP_SYS_ADMIN", "CAP_SETPCAP"]));
        assert_eq!(lent.get("ambient"), None);
        let mut process = json!({"capabilities": own});
        let had = serde_json::to_value(lend(&mut process).unwrap()).unwrap();
        assert_eq!((&had["bounding"], &had["permitted"]), (&json!(["CAP_CHOWN"]), &json!([])));

        let listener =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mknod"], "action": "SCMP_ACT_NOTIFY"}]});
        joined(&config(true, json!({"seccomp": listener}))).unwrap_err();
        joined(&config(true, json!({"seccomp": {"defaultAction": "?"}}))).unwrap_err();
    }
}
