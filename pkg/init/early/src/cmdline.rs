//! The kernel's command line, as far as it concerns early and init (docs/init.md lists the keys).

use std::time::Duration;

use bootwright_bundle::{
    CORRUPTION_ARGUMENT, Corruption, MEMORY_ARGUMENT, ONFAIL_ARGUMENT, ONFAIL_DELAY_ARGUMENT, OnFail, ROOT_ARGUMENT,
    ROOT_WAIT_ARGUMENT, VERITY_ARGUMENT, WATCHDOG_ARGUMENT,
};

/// Kernel command line key of tests: the container whose creating child aborts mid-create.
const ABORT_ARGUMENT: &str = "bootwright.test.abort";

/// What the command line asks of early and init.
#[derive(Debug, PartialEq, Eq)]
pub struct Cmdline {
    /// Device names of `console=`, without options.
    pub consoles: Vec<String>,
    /// The root image to look for, as written: a wrong name must not be taken for none.
    pub root: Option<String>,
    /// Time to wait for it.
    pub root_wait: Duration,
    /// Root hash of dm-verity, as written, likewise.
    pub verity: Option<String>,
    /// What a block does that dm-verity refuses.
    pub corruption: Corruption,
    /// MiB of memory that the machine needs.
    pub memory_mib: u64,
    /// Overrides every onboot's `onfail`.
    pub onfail: Option<OnFail>,
    /// Time between banner and power off.
    pub onfail_delay: Duration,
    /// The watchdog that is to be fed.
    pub watchdog: Option<Watchdog>,
    /// Name of the container whose creation is to be aborted.
    pub abort: Option<String>,
    /// Parameters of modules, as `(module, parameter=value)`.
    pub module_parameters: Vec<(String, String)>,
    /// Modules of `modprobe.blacklist=`.
    pub blacklist: Vec<String>,
    /// Words of ours that were not understood.
    pub wrong: Vec<String>,
}

/// A watchdog that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// Seconds after which it restarts a machine that hangs.
    pub seconds: u16,
    /// Its device.
    pub device: String,
}

impl Watchdog {
    fn parse(text: &str) -> Option<Self> {
        let (seconds, device) = text.split_once(',').unwrap_or((text, "/dev/watchdog0"));
        let seconds = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
        Some(Self { seconds, device: device.to_owned() })
    }
}

impl Default for Cmdline {
    fn default() -> Self {
        Self::parse("")
    }
}

impl Cmdline {
    /// Reads `/proc/cmdline`; an empty one when it cannot be read.
    pub fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    /// Parses the text of a command line.
    pub fn parse(text: &str) -> Self {
        let mut line = Self {
            consoles: Vec::new(),
            root: None,
            root_wait: Duration::from_secs(30),
            verity: None,
            corruption: Corruption::default(),
            memory_mib: 0,
            onfail: None,
            onfail_delay: Duration::from_secs(30),
            watchdog: None,
            abort: None,
            module_parameters: Vec::new(),
            blacklist: Vec::new(),
            wrong: Vec::new(),
        };
        for word in words(text) {
            // Everything after `--` is for init's argv.
            if word == "--" {
                break;
            }
            line.take(&word);
        }
        line
    }

    fn take(&mut self, word: &str) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let name = normal(key);
        match key {
            "console" => {
                let device = value.split(',').next().unwrap_or_default();
                let device = device.strip_prefix("/dev/").unwrap_or(device);
                if !device.is_empty() && device != "null" && !self.consoles.iter().any(|c| c == device) {
                    self.consoles.push(device.to_owned());
                }
            }
            ROOT_ARGUMENT => self.root = Some(value.to_owned()),
            ROOT_WAIT_ARGUMENT => match value.parse() {
                Ok(seconds) => self.root_wait = Duration::from_secs(seconds),
                Err(_) => self.wrong.push(word.to_owned()),
            },
            VERITY_ARGUMENT => self.verity = Some(value.to_owned()),
            CORRUPTION_ARGUMENT => match value.parse() {
                Ok(corruption) => self.corruption = corruption,
                Err(()) => self.wrong.push(word.to_owned()),
            },
            MEMORY_ARGUMENT => match value.parse() {
                Ok(mib) => self.memory_mib = mib,
                Err(_) => self.wrong.push(word.to_owned()),
            },
            ONFAIL_ARGUMENT => match value.parse() {
                Ok(onfail) => self.onfail = Some(onfail),
                Err(()) => self.wrong.push(word.to_owned()),
            },
            ONFAIL_DELAY_ARGUMENT => match value.parse() {
                Ok(seconds) => self.onfail_delay = Duration::from_secs(seconds),
                Err(_) => self.wrong.push(word.to_owned()),
            },
            WATCHDOG_ARGUMENT => match Watchdog::parse(value) {
                Some(watchdog) => self.watchdog = Some(watchdog),
                None => self.wrong.push(word.to_owned()),
            },
            ABORT_ARGUMENT => self.abort = Some(value.to_owned()),
            "modprobe.blacklist" => self.blacklist.extend(value.split(',').map(normal)),
            _ if key.starts_with("bootwright.") => self.wrong.push(word.to_owned()),
            _ => {
                if let Some((module, parameter)) = name.split_once('.') {
                    let parameter = if value.is_empty() && !word.contains('=') {
                        parameter.to_owned()
                    } else {
                        format!("{parameter}={value}")
                    };
                    self.module_parameters.push((module.to_owned(), parameter));
                }
            }
        }
    }
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Words of a command line: separated by white space, which double quotes protect; the quotes are taken off.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_lose_their_options_and_come_once() {
        let line = Cmdline::parse("quiet console=tty0 console=ttyS0,115200n8 console=ttyS0 console= console=null\n");
        assert_eq!(line.consoles, ["tty0", "ttyS0"]);
    }

    #[test]
    fn our_keys() {
        let line = Cmdline::parse("bootwright.onfail=reboot bootwright.onfail.delay=2 bootwright.test.abort=web");
        assert_eq!(line.onfail, Some(OnFail::Reboot));
        assert_eq!(line.onfail_delay, Duration::from_secs(2));
        assert_eq!(line.abort.as_deref(), Some("web"));
        assert_eq!(line.wrong, Vec::<String>::new());
    }

    #[test]
    fn a_watchdog() {
        for (text, expected) in [
            ("30", Some((30, "/dev/watchdog0"))),
            ("5,/dev/watchdog1", Some((5, "/dev/watchdog1"))),
            ("0", None),
            ("", None),
            ("1m", None),
        ] {
            let line = Cmdline::parse(&format!("bootwright.watchdog={text}"));
            assert_eq!(line.watchdog.as_ref().map(|dog| (dog.seconds, dog.device.as_str())), expected, "{text}");
            assert_eq!(line.wrong.is_empty(), expected.is_some());
        }
    }

    #[test]
    fn keys_of_the_root() {
        let line = Cmdline::parse(
            "bootwright.root=00ff bootwright.root.wait=5 bootwright.verity=ab bootwright.verity.corruption=restart \
             bootwright.memory=96",
        );
        assert_eq!((line.root.as_deref(), line.verity.as_deref()), (Some("00ff"), Some("ab")));
        assert_eq!((line.root_wait, line.corruption), (Duration::from_secs(5), Corruption::Restart));
        assert_eq!((line.memory_mib, line.wrong.len()), (96, 0));
        let none = Cmdline::parse("");
        assert_eq!((none.root, none.root_wait, none.verity), (None, Duration::from_secs(30), None));
        assert_eq!(Cmdline::parse("bootwright.verity").verity.as_deref(), Some(""), "asked for, and wrongly");
        let wrong = "bootwright.root.wait=x bootwright.verity.corruption=x bootwright.memory=-1";
        assert_eq!(Cmdline::parse(wrong).wrong.join(" "), wrong);
    }

    #[test]
    fn what_is_not_understood_changes_nothing_and_is_kept_to_be_said() {
        let line =
            Cmdline::parse("bootwright.onfail=maybe bootwright.onfail.delay=soon bootwright.typo -- bootwright.x");
        assert_eq!(line.onfail, None);
        assert_eq!(line.onfail_delay, Duration::from_secs(30));
        assert_eq!(line.wrong, ["bootwright.onfail=maybe", "bootwright.onfail.delay=soon", "bootwright.typo"]);
    }

    #[test]
    fn quotes_protect_spaces_and_module_parameters_find_their_module() {
        let line =
            Cmdline::parse(r#"dyndbg="file a +p" virtio-blk.queue_depth=64 loop.max_loop=8 modprobe.blacklist=a-b,c"#);
        assert_eq!(
            line.module_parameters,
            [("virtio_blk".to_owned(), "queue_depth=64".to_owned()), ("loop".to_owned(), "max_loop=8".to_owned())]
        );
        assert_eq!(line.blacklist, ["a_b", "c"]);
    }
}
