//! Who a container runs as: an image's `USER`, the spec's `uid` and `gid`, and the names they may use.
//!
//! An image's user is looked up in its own passwd and group, as Docker does: with the primary group and, where no group
//! was named, all groups that list the user. In the spec a name is first one of the spec's containers (LinuxKit's ids from
//! 100), then one of the image's accounts.

use std::collections::BTreeMap;

use bootwright_oci::{Kind, LoadedImage, ReadContent, Tree};
use bootwright_spec::{ContainerConfig, Owner, Spanned};
use serde::Serialize;

use crate::inputs::read_all;
use crate::problems::{Describe, Problems, nearest};
use crate::resolve::resolve;

/// More than any honest passwd.
const LIMIT: u64 = 4 << 20;

/// `process.user` of `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) additional_gids: Vec<u32>,
}

/// The accounts of one image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    /// Name, uid, gid.
    users: Vec<(String, u32, u32)>,
    /// Name, gid, members.
    groups: Vec<(String, u32, Vec<String>)>,
}

impl Accounts {
    /// Reads `etc/passwd` and `etc/group`; what is not there or not readable is empty.
    pub(crate) fn of(tree: &Tree, store: &(impl ReadContent + ?Sized)) -> Self {
        let lookup = |name: &str| {
            let kind = |p: &bootwright_oci::TreePath| tree.get(p).map(|n| &n.kind);
            let mut node = tree.get(&resolve(kind, name.as_bytes(), true).ok()?)?;
            if let Kind::HardLink(target) = &node.kind {
                node = tree.get(target)?;
            }
            let Kind::File(content) = &node.kind else { return None };
            Some(String::from_utf8_lossy(&read_all(store, content, LIMIT).ok()?).into_owned())
        };
        let (passwd, group) = (lookup("etc/passwd").unwrap_or_default(), lookup("etc/group").unwrap_or_default());
        Self::parse(&passwd, &group)
    }

    fn parse(passwd: &str, group: &str) -> Self {
        let mut out = Self::default();
        for line in passwd.lines() {
            let fields: Vec<&str> = line.trim().split(':').collect();
            if let [name, _, uid, gid, ..] = fields[..]
                && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
            {
                out.users.push((name.to_owned(), uid, gid));
            }
        }
        for line in group.lines() {
            let fields: Vec<&str> = line.trim().split(':').collect();
            if let [name, _, gid, ref rest @ ..] = fields[..]
                && let Ok(gid) = gid.parse()
            {
                let members = rest.first().unwrap_or(&"").split(',').map(str::to_owned).collect();
                out.groups.push((name.to_owned(), gid, members));
            }
        }
        out
    }

    fn user(&self, name: &str) -> Option<&(String, u32, u32)> {
        self.users.iter().find(|(n, ..)| n == name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|(n, ..)| n == name).map(|(_, gid, _)| *gid)
    }

    /// Groups besides the primary one that list a user.
    fn groups_of(&self, user: &str, primary: u32) -> Vec<u32> {
        let mut gids: Vec<u32> = self
            .groups
            .iter()
            .filter(|(_, gid, members)| *gid != primary && members.iter().any(|m| m == user))
            .map(|(_, gid, _)| *gid)
            .collect();
        gids.sort_unstable();
        gids.dedup();
        gids
    }

    /// An image's `USER`: `name`, `uid`, `name:group`, `uid:gid` and what lies between.
    pub(crate) fn image_user(&self, text: &str) -> Result<User, String> {
        let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g).filter(|g| !g.is_empty())));
        let known = match user.parse::<u32>() {
            Ok(uid) => self.users.iter().find(|(_, u, _)| *u == uid).cloned().or(Some((String::new(), uid, 0))),
            Err(_) if matches!(user, "" | "root") => self.user("root").cloned().or(Some(("root".to_owned(), 0, 0))),
            Err(_) => self.user(user).cloned(),
        };
        let (name, uid, primary) = known.ok_or_else(|| format!("user `{user}` is not in the image's etc/passwd"))?;
        let Some(group) = group else {
            let additional_gids = if name.is_empty() { Vec::new() } else { self.groups_of(&name, primary) };
            return Ok(User { uid, gid: primary, additional_gids });
        };
        let gid = group.parse().ok().or_else(|| self.group(group));
        let gid = gid.or_else(|| (group == "root").then_some(0));
        let gid = gid.ok_or_else(|| format!("group `{group}` is not in the image's etc/group"))?;
        Ok(User { uid, gid, additional_gids: Vec::new() })
    }
}

/// Resolves the ids of `files:` and containers.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    /// The spec's containers, by name.
    pub(crate) containers: &'a BTreeMap<String, u32>,
    /// The accounts of the image at hand.
    pub(crate) accounts: &'a Accounts,
    /// What to call them in messages.
    pub(crate) place: &'a str,
}

impl Names<'_> {
    /// A uid, and the primary group where the name is one of the image's.
    pub(crate) fn uid(&self, owner: &Spanned<Owner>, problems: &mut Problems) -> (u32, Option<u32>) {
        match &owner.value {
            Owner::Id(id) => (*id, None),
            Owner::Name(name) if matches!(name.as_str(), "" | "root") => (0, None),
            Owner::Name(name) => {
                if let Some(id) = self.containers.get(name) {
                    return (*id, None);
                }
                if let Some((_, uid, gid)) = self.accounts.user(name) {
                    return (*uid, Some(*gid));
                }
                let known = self.accounts.users.iter().map(|(n, ..)| n.as_str());
                self.unknown("user", name, known, owner, problems);
                (0, None)
            }
        }
    }

    /// A gid.
    pub(crate) fn gid(&self, owner: &Spanned<Owner>, problems: &mut Problems) -> u32 {
        match &owner.value {
            Owner::Id(id) => *id,
            Owner::Name(name) if matches!(name.as_str(), "" | "root") => 0,
            Owner::Name(name) => {
                self.containers.get(name).copied().or_else(|| self.accounts.group(name)).unwrap_or_else(|| {
                    let known = self.accounts.groups.iter().map(|(n, ..)| n.as_str());
                    self.unknown("group", name, known, owner, problems);
                    0
                })
            }
        }
    }

    fn unknown<'n>(
        &'n self,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str>,
        owner: &Spanned<Owner>,
        problems: &mut Problems,
    ) {
        let containers = self.containers.keys().map(String::as_str);
        let near = nearest(name, containers.chain(known)).map(str::to_owned);
        let message =
            format!("{what} `{name}` is neither a container of this spec nor in the {what}s of {}", self.place);
        let error = problems.error(Some(owner.span), message);
        if let Some(near) = near {
            error.hint(format!("did you mean `{near}`?"));
        } else {
            error.hint("write the number");
        }
    }

    /// Who a container runs as.
    pub(crate) fn process_user(
        &self,
        config: &ContainerConfig,
        image: &LoadedImage,
        at: bootwright_spec::Span,
        problems: &mut Problems,
    ) -> User {
        let declared = image.image.config.config().as_ref().and_then(|c| c.user().clone()).unwrap_or_default();
        let mut user = if let Some(uid) = &config.uid {
            let (uid, primary) = self.uid(uid, problems);
            User { uid, gid: primary.unwrap_or(0), additional_gids: Vec::new() }
        } else if declared.is_empty() {
            User::default()
        } else {
            self.accounts.image_user(&declared).unwrap_or_else(|reason| {
                problems
                    .error(Some(at), format!("image `{}` wants to run as `{declared}`: {reason}", image.image.name))
                    .hint("say who it runs as: `uid:` and `gid:`");
                User::default()
            })
        };
        if let Some(gid) = &config.gid {
            user.gid = self.gid(gid, problems);
        }
        if let Some(gids) = &config.additional_gids {
            user.additional_gids = gids.iter().map(|gid| self.gid(gid, problems)).collect();
        }
        user
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, SPAN, image, spanned, tree};

    fn accounts() -> Accounts {
        let tree = tree(&[
            "etc/passwd->../usr/passwd",
            "usr/passwd=root:x:0:0::/:/bin/sh\nredis:x:999:1000::/:/bin/sh\nbroken\nweb:x:33:33::/:\n",
            "etc/group=root:x:0:\nredis:x:1000:\naudio:x:29:redis,web\ndisk:x:6:redis\n",
        ]);
        Accounts::of(&tree, &Memory::default())
    }

    // LinuxKit ignores USER, so that everything runs as uid 0 (parity table 13.1, item 5).
    #[test]
    fn an_images_user_is_looked_up_in_its_own_passwd() {
        for (text, uid, gid, more) in [
            ("redis", 999, 1000, &[6, 29][..]),
            ("999", 999, 1000, &[6, 29]),
            ("1234", 1234, 0, &[]),
            ("1000:1000", 1000, 1000, &[]),
            ("redis:audio", 999, 29, &[]),
            ("web:0", 33, 0, &[]),
            ("root", 0, 0, &[]),
            ("999:", 999, 1000, &[6, 29]),
        ] {
            let want = User { uid, gid, additional_gids: more.to_vec() };
            assert_eq!(accounts().image_user(text), Ok(want), "{text}");
        }
        assert!(accounts().image_user("nobody").unwrap_err().contains("`nobody`"));
        assert!(accounts().image_user("redis:nogroup").unwrap_err().contains("`nogroup`"));
    }

    #[test]
    fn the_spec_overrides_and_names_are_containers_first() {
        let containers = BTreeMap::from([("web".to_owned(), 101)]);
        let accounts = accounts();
        let names = Names { containers: &containers, accounts: &accounts, place: "x" };
        let image = image("redis", &serde_json::json!({"User": "redis"}), Tree::default());
        let name = |n: &str| Some(spanned(Owner::Name(n.to_owned())));
        let config = |uid, gid| ContainerConfig { uid, gid, ..ContainerConfig::default() };
        for (config, uid, gid) in [
            (config(None, None), 999, 1000),
            (config(None, Some(spanned(Owner::Id(5)))), 999, 5),
            (config(Some(spanned(Owner::Id(7))), None), 7, 0),
            (config(name("web"), name("web")), 101, 101),
            (config(name("redis"), None), 999, 1000),
            (config(name("root"), name("audio")), 0, 29),
        ] {
            let mut problems = Problems::default();
            let user = names.process_user(&config, &image, SPAN, &mut problems);
            assert_eq!((user.uid, user.gid), (uid, gid), "{config:?}");
            assert!(!problems.finish().has_errors());
        }
        let mut problems = Problems::default();
        names.process_user(&config(name("rediss"), None), &image, SPAN, &mut problems);
        let errors = problems.finish().0;
        assert_eq!(errors[0].hints, ["did you mean `redis`?"]);
    }
}
