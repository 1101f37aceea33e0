//! What binds those that join a container, as a probe or `ctl exec` does: its seccomp filter and its Landlock. The library lays them on
//! the container's own process only.
//!
//! Without no-new-privileges it takes CAP_SYS_ADMIN to install a filter, and by the time at which we are asked the library has
//! taken capabilities away. So it is told to leave two more, and here they go when the filter is there.

use std::path::Path;

use bootwright_bundle::{CONTAINERS, Landlock, SUPERVISION_JSON, Supervision};
use libcontainer::capabilities::drop_privileges;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Spec};
use libcontainer::seccomp::{initialize_seccomp, is_notify};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::default::get_executor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use serde_json::{Value, json};

use super::landlock::restrict;

/// What it takes to install a filter, and to give that up again.
const NEEDED: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SETPCAP"];

/// Starts a program within what binds a container, in the order in which the container's own process was bound.
#[derive(Clone, Default)]
struct Confined {
    seccomp: Option<LinuxSeccomp>,
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
    fn bind(&self) -> Result<(), String> {
        if let Some(seccomp) = &self.seccomp {
            initialize_seccomp(seccomp).map_err(|error| format!("the seccomp filter: {error}"))?;
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

/// Binds a process that is to join the container of a bundle as the container's own is bound.
pub fn confined(
    builder: ContainerBuilder,
    (kind, directory): (&str, &str),
    config: &Value,
    process: &mut Value,
) -> Result<ContainerBuilder, String> {
    let supervision = Path::new(CONTAINERS).join(kind).join(directory).join(SUPERVISION_JSON);
    let supervision: Supervision = super::read_json_if_there(&supervision).map_err(|error| error.to_string())?;
    let filter = filter(config, process)?;
    Ok(builder.with_executor(Confined { landlock: supervision.landlock, ..filter }))
}

fn filter(config: &Value, process: &mut Value) -> Result<Confined, String> {
    let Some(seccomp) = config.pointer("/linux/seccomp").filter(|seccomp| !seccomp.is_null()) else {
        return Ok(Confined::default());
    };
    let failed = |error: serde_json::Error| format!("the container's configuration: {error}");
    let seccomp: LinuxSeccomp = serde_json::from_value(seccomp.clone()).map_err(failed)?;
    if is_notify(&seccomp) {
        return Err("the container's seccomp filter asks a listener, which is not there for what joins it".to_owned());
    }
    let bare = process.get("noNewPrivileges") != Some(&json!(true));
    let capabilities = bare.then(|| lend(process)).transpose().map_err(failed)?;
    Ok(Confined { seccomp: Some(seccomp), capabilities, landlock: None })
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
        filter(config, &mut process).map(|_| process)
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
