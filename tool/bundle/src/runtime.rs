//! LinuxKit's `runtime.json`: what is prepared in the machine around a container (parity table, sections 2.6.7 and 3.5).

use serde::{Deserialize, Serialize};

/// `runtime.json`. All keys are always written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Cgroups made before the container starts.
    #[serde(default)]
    pub cgroups: Option<Vec<String>>,
    /// Mounts made in the machine's mount namespace, in order; a relative destination is inside the container's root.
    #[serde(default)]
    pub mounts: Option<Vec<Mount>>,
    /// Directories made (0755) after the mounts; relative ones inside the container's root.
    #[serde(default)]
    pub mkdir: Option<Vec<String>>,
    /// Network interfaces moved or made between create and start.
    #[serde(default)]
    pub interfaces: Option<Vec<Interface>>,
    /// Where the container's namespaces are bound.
    #[serde(default, rename = "bindNS")]
    pub bind_ns: BindNs,
    /// Namespace of containerd.
    #[serde(default)]
    pub namespace: String,
}

/// A mount as OCI's runtime specification writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where.
    pub destination: String,
    /// Filesystem type.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Device or directory.
    #[serde(default)]
    pub source: String,
    /// Options.
    #[serde(default)]
    pub options: Vec<String>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name in the container.
    pub name: String,
    /// Link type to make; empty to move an existing interface.
    #[serde(default)]
    pub add: String,
    /// The other end of a veth, left in the root namespace.
    #[serde(default)]
    pub peer: String,
    /// Make it in the root namespace, then move it.
    #[serde(default, rename = "createInRoot")]
    pub create_in_root: bool,
}

/// Paths on which a container's namespaces are bound; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindNs {
    /// Cgroup namespace.
    pub cgroup: String,
    /// IPC namespace.
    pub ipc: String,
    /// Mount namespace.
    pub mnt: String,
    /// Network namespace.
    pub net: String,
    /// PID namespace.
    pub pid: String,
    /// User namespace.
    pub user: String,
    /// UTS namespace.
    pub uts: String,
}
