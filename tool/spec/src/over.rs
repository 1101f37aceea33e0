//! What a container's entry says, over what its image's label says.
//!
//! The entry wins key by key; a list or map that is given replaces the label's, `runtime` and its `bindNS` are merged
//! member by member. The two `.add` keys add to the label's own list and do nothing beside a list of the entry's: what
//! comes out holds `capabilities` and `binds` and, apart from them, what is still to be added.

use crate::{BindNs, ContainerConfig, Namespaces, RuntimeConfig};

impl ContainerConfig {
    /// This configuration over that of a label.
    #[must_use]
    pub fn over(self, label: Self) -> Self {
        Self {
            capabilities_add: added(self.capabilities.is_some(), label.capabilities_add, self.capabilities_add),
            capabilities: self.capabilities.or(label.capabilities),
            ambient: self.ambient.or(label.ambient),
            mounts: self.mounts.or(label.mounts),
            binds_add: added(self.binds.is_some(), label.binds_add, self.binds_add),
            binds: self.binds.or(label.binds),
            devices: self.devices.or(label.devices),
            tmpfs: self.tmpfs.or(label.tmpfs),
            command: self.command.or(label.command),
            env: self.env.or(label.env),
            cwd: self.cwd.or(label.cwd),
            namespaces: self.namespaces.over(label.namespaces),
            hostname: self.hostname.or(label.hostname),
            readonly: self.readonly.or(label.readonly),
            masked_paths: self.masked_paths.or(label.masked_paths),
            readonly_paths: self.readonly_paths.or(label.readonly_paths),
            uid: self.uid.or(label.uid),
            gid: self.gid.or(label.gid),
            additional_gids: self.additional_gids.or(label.additional_gids),
            no_new_privileges: self.no_new_privileges.or(label.no_new_privileges),
            oom_score_adj: self.oom_score_adj.or(label.oom_score_adj),
            rootfs_propagation: self.rootfs_propagation.or(label.rootfs_propagation),
            cgroups_path: self.cgroups_path.or(label.cgroups_path),
            resources: self.resources.or(label.resources),
            sysctl: self.sysctl.or(label.sysctl),
            rlimits: self.rlimits.or(label.rlimits),
            uid_mappings: self.uid_mappings.or(label.uid_mappings),
            gid_mappings: self.gid_mappings.or(label.gid_mappings),
            annotations: self.annotations.or(label.annotations),
            runtime: self.runtime.over(label.runtime),
            seccomp: self.seccomp.or(label.seccomp),
            landlock: self.landlock.or(label.landlock),
            onfail: self.onfail.or(label.onfail),
            restart: self.restart.or(label.restart),
            after: self.after.or(label.after),
            requires: self.requires.or(label.requires),
            ready: self.ready.or(label.ready),
            health: self.health.or(label.health),
            stop: self.stop.or(label.stop),
            parallel: self.parallel.or(label.parallel),
        }
    }
}

/// The label's additions and then the entry's, unless the entry gives the whole list.
fn added<T>(replaced: bool, label: Option<Vec<T>>, entry: Option<Vec<T>>) -> Option<Vec<T>> {
    if replaced {
        return None;
    }
    match (label, entry) {
        (Some(mut label), Some(entry)) => {
            label.extend(entry);
            Some(label)
        }
        (label, entry) => label.or(entry),
    }
}

impl Namespaces {
    fn over(self, label: Self) -> Self {
        Self {
            net: self.net.or(label.net),
            ipc: self.ipc.or(label.ipc),
            uts: self.uts.or(label.uts),
            pid: self.pid.or(label.pid),
            user: self.user.or(label.user),
            cgroup: self.cgroup.or(label.cgroup),
        }
    }
}

impl RuntimeConfig {
    fn over(self, label: Self) -> Self {
        Self {
            cgroups: self.cgroups.or(label.cgroups),
            mounts: self.mounts.or(label.mounts),
            mkdir: self.mkdir.or(label.mkdir),
            interfaces: self.interfaces.or(label.interfaces),
            bind_ns: self.bind_ns.over(label.bind_ns),
            namespace: self.namespace.or(label.namespace),
        }
    }
}

impl BindNs {
    fn over(self, label: Self) -> Self {
        Self {
            cgroup: self.cgroup.or(label.cgroup),
            ipc: self.ipc.or(label.ipc),
            mnt: self.mnt.or(label.mnt),
            net: self.net.or(label.net),
            pid: self.pid.or(label.pid),
            user: self.user.or(label.user),
            uts: self.uts.or(label.uts),
        }
    }
}
