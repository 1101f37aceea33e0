//! depmod's tables, as far as they decide what is loaded: `modules.alias`, `modules.dep`, `modules.softdep`,
//! `modules.devname`, and our `modules.left-out`, which names aliases of modules that the builder left out.
//!
//! They are read when they are needed and forgotten again. Aliases are looked up for all devices in one pass, because the
//! table of a whole distribution kernel has tens of thousands of lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::ops::Bound;

use super::pattern::matches;

/// What an alias table says about wanted names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Modules in the order of the table, each once.
    pub modules: Vec<String>,
    /// Which wanted name led to each of them.
    pub wanted_by: Vec<String>,
}

/// Looks wanted names up in an alias table: lines `alias PATTERN MODULE`.
pub fn aliases(table: impl BufRead, wanted: &BTreeSet<String>) -> Found {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    each_line(table, |line| {
        let Some((pattern, module)) = line.strip_prefix("alias ").and_then(|rest| rest.split_once(' ')) else { return };
        // Most lines are for other devices. What a pattern matches begins as it does, up to what stands for more than itself.
        let literal = pattern.bytes().take_while(|b| !matches!(b, b'*' | b'?' | b'[' | b'-' | b'_')).count();
        let head = pattern.get(..literal).unwrap_or_default();
        let alike = wanted.range::<str, _>((Bound::Included(head), Bound::Unbounded));
        if let Some(name) = alike.take_while(|name| name.starts_with(head)).find(|name| matches(pattern, name))
            && seen.insert(module.to_owned())
        {
            found.modules.push(module.to_owned());
            found.wanted_by.push(name.to_owned());
        }
    });
    found
}

/// What an alias begins with: the name of its bus.
pub fn bus(alias: &str) -> &str {
    alias.split_once(':').map_or(alias, |(bus, _)| bus)
}

/// The modules that there are and what they need.
#[derive(Debug, Default)]
pub struct Modules {
    /// By name: path below the modules' directory, and paths of those it needs, the first to load last.
    files: BTreeMap<String, (String, Vec<String>)>,
    /// By name: softdeps before and after.
    soft: BTreeMap<String, (Vec<String>, Vec<String>)>,
}

impl Modules {
    /// Reads `modules.dep` and `modules.softdep`.
    pub fn read(dep: impl BufRead, softdep: impl BufRead) -> Self {
        let mut modules = Self::default();
        each_line(dep, |line| {
            if let Some((path, needs)) = line.split_once(':') {
                let needs = needs.split_ascii_whitespace().map(str::to_owned).collect();
                modules.files.insert(name_of(path), (path.to_owned(), needs));
            }
        });
        each_line(softdep, |line| {
            let mut words = line.split_ascii_whitespace();
            let (Some("softdep"), Some(module)) = (words.next(), words.next()) else { return };
            let entry = modules.soft.entry(normal(module)).or_default();
            let mut after = false;
            for word in words {
                match word {
                    "pre:" => after = false,
                    "post:" => after = true,
                    name if after => entry.1.push(normal(name)),
                    name => entry.0.push(normal(name)),
                }
            }
        });
        modules
    }

    /// Whether there is a module of that name.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(&normal(name))
    }

    /// Paths of the modules to load for those named, in waves: each finds what it needs in those before its own.
    pub fn plan<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Vec<Vec<String>> {
        let mut plan = Plan::default();
        for name in names {
            self.visit(&normal(name.as_ref()), 0, &mut plan);
        }
        plan.waves
    }

    /// Plans a module and what it needs, it in no wave before `earliest`; the wave behind its own.
    fn visit(&self, name: &str, earliest: usize, plan: &mut Plan) -> usize {
        let Some((path, needs)) = self.files.get(name) else { return earliest };
        if let Some(&behind) = plan.behind.get(name) {
            return behind;
        }
        // Marked first: softdeps may go in circles.
        plan.behind.insert(name.to_owned(), 0);
        let (before, after) = self.soft.get(name).map_or((&[][..], &[][..]), |(b, a)| (b, a));
        let hard: Vec<String> = needs.iter().rev().map(|need| name_of(need)).collect();
        let wave = before.iter().chain(&hard).map(|need| self.visit(need, 0, plan)).fold(earliest, usize::max);
        plan.behind.insert(name.to_owned(), wave + 1);
        if plan.waves.len() <= wave {
            plan.waves.resize_with(wave + 1, Vec::new);
        }
        if let Some(modules) = plan.waves.get_mut(wave) {
            modules.push(path.clone());
        }
        for soft in after {
            self.visit(soft, wave + 1, plan);
        }
        wave + 1
    }
}

#[derive(Debug, Default)]
struct Plan {
    waves: Vec<Vec<String>>,
    /// By name: the first wave in which it is there.
    behind: BTreeMap<String, usize>,
}

/// Device nodes of `modules.devname` whose opening loads a module: name, kind (`c` or `b`), major, minor.
pub fn device_nodes(table: impl BufRead) -> Vec<(String, char, u32, u32)> {
    let mut nodes = Vec::new();
    each_line(table, |line| {
        let mut words = line.split_ascii_whitespace();
        let (Some(_), Some(name), Some(device)) = (words.next(), words.next(), words.next()) else { return };
        let mut letters = device.chars();
        let kind = letters.next();
        let numbers = letters.as_str().split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        if let (Some(kind @ ('c' | 'b')), Some((major, minor))) = (kind, numbers)
            && !name.split('/').any(|part| part.is_empty() || part == "..")
        {
            nodes.push((name.to_owned(), kind, major, minor));
        }
    });
    nodes
}

/// A module's name: that of its file, without suffixes, with underscores.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    normal(file.split_once(".ko").map_or(file, |(name, _)| name))
}

/// The spelling that the kernel uses.
pub fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn each_line(mut table: impl BufRead, mut each: impl FnMut(&str)) {
    let mut line = Vec::new();
    while matches!(table.read_until(b'\n', &mut line), Ok(1..)) {
        if let Ok(text) = std::str::from_utf8(&line)
            && !text.starts_with('#')
        {
            each(text.trim_end());
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    const DEP: &str = "\
kernel/virtio.ko:
kernel/virtio_ring.ko: kernel/virtio.ko
kernel/virtio-pci.ko.xz: kernel/virtio_ring.ko kernel/virtio.ko
kernel/net/virtio_net.ko: kernel/net/net_failover.ko kernel/net/failover.ko kernel/virtio_ring.ko kernel/virtio.ko
kernel/net/net_failover.ko: kernel/net/failover.ko
kernel/net/failover.ko:
kernel/a.ko:
kernel/b.ko:
";

    fn modules() -> Modules {
        Modules::read(DEP.as_bytes(), &b"# comment\nsoftdep a pre: b\nsoftdep b pre: a post: virtio\n"[..])
    }

    #[test]
    fn needs_come_in_waves_before_those_that_need_them_and_each_once() {
        assert_eq!(
            modules().plan(["virtio_net", "virtio-pci"]),
            [
                &["kernel/virtio.ko", "kernel/net/failover.ko"][..],
                &["kernel/virtio_ring.ko", "kernel/net/net_failover.ko"],
                &["kernel/net/virtio_net.ko", "kernel/virtio-pci.ko.xz"],
            ]
        );
        assert!(modules().plan(["nothing"]).is_empty());
    }

    #[test]
    fn soft_dependencies_count_and_may_go_in_circles() {
        assert_eq!(modules().plan(["a"]), [&["kernel/b.ko"][..], &["kernel/virtio.ko", "kernel/a.ko"]]);
    }

    #[test]
    fn names_are_those_of_the_kernel() {
        assert!(modules().has("virtio_pci") && modules().has("virtio-pci") && !modules().has("e1000"));
        assert_eq!(name_of("kernel/drivers/block/virtio-blk.ko.zst"), "virtio_blk");
    }

    #[test]
    fn all_aliases_are_looked_up_in_one_pass() {
        let table = "# Aliases\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias fs-overlay overlay\n\
                     alias acpi*:PNP0C0C:* button\nalias virtio:d00000001v* virtio_net\nbroken\n\
                     alias pci:v00001AF4d00001000* virtio_pci\nalias net-pf-10 ipv6\nalias ?sb:v1 usb\nalias usb:v12 no\n";
        let device = "pci:v00001AF4d00001000sv1sd1bc02sc00i00";
        let wanted = set(&[device, "acpi:PNP0C0C:", "fs-overlay", "usb:v1", "net_pf_10"]);
        let found = aliases(table.as_bytes(), &wanted);
        assert_eq!(found.modules, ["virtio_pci", "overlay", "button", "ipv6", "usb"]);
        assert_eq!(found.wanted_by[1], "fs-overlay");
    }

    #[test]
    fn device_nodes_stay_in_dev() {
        let table =
            "# nodes\nfuse fuse c10:229\ntun net/tun c10:200\nx ../../etc/x c1:1\nloop loop-control c10:237\nbad\n";
        assert_eq!(
            device_nodes(table.as_bytes()),
            [
                ("fuse".to_owned(), 'c', 10, 229),
                ("net/tun".to_owned(), 'c', 10, 200),
                ("loop-control".to_owned(), 'c', 10, 237)
            ]
        );
    }
}
