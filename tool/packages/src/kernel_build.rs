//! Recipe `kernel`: a kernel built from Debian's packaged source (`linux-source-6.12`), as small as its fragments say.
//!
//! `make tinyconfig`, the fragments over it, `make olddefconfig`; then every request is compared with what Kconfig made of it
//! (`kconfig.rs`), before minutes of compiling. The build happens in a fresh directory and in an environment of its own, with
//! build time, user and host fixed (`Documentation/kbuild/reproducible-builds.rst`), so that equal sources, fragments and
//! compilers make equal bytes. What make says goes into a log that outlives a failure.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use bootwright_oci::{Reporter, TreePath};
use bootwright_spec::{DebianRecipe, KernelRecipe};

use crate::assembly::{Assembly, Body, Bytes, Entries, Entry};
use crate::command::{CommandError, command, find, run};
use crate::debian::{self, DebianError};
use crate::kconfig::{self, FragmentError, Refused, Request};
use crate::kernel::{self, KernelError, Parts};
use crate::sources::{self, Source, SourceError};

/// Raised when this recipe makes other bytes of the same inputs.
pub(crate) const RECIPE: u32 = 1;
/// Lines of the log that an error shows.
const LAST_LINES: usize = 15;
/// Lines of make's between two notes.
const NOTE_EVERY: u64 = 500;

/// A kernel that was not built.
#[derive(Debug, thiserror::Error)]
pub enum KernelBuildError {
    /// An architecture that we cannot build for.
    #[error("kernels are built from source for amd64 only, not for `{0}`")]
    Architecture(String),
    /// A fragment that cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A fragment with a line that asks for nothing.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// What is needed to compile a kernel is not installed.
    #[error("building a kernel needs {}, not installed here", listed(.0))]
    Missing(Vec<&'static str>),
    /// A tool that does not say its version.
    #[error("the version of a tool that kernels are built with cannot be asked for")]
    Version(#[source] CommandError),
    /// The source's package.
    #[error("the source of the kernel cannot be unpacked")]
    Unpack(#[source] Box<DebianError>),
    /// The source's package holds no source.
    #[error("package `{0}` holds no kernel source, `usr/src/{0}.tar.xz` with one directory `{0}`")]
    NoSource(String),
    /// Kconfig did not do what a fragment says.
    #[error("Kconfig refuses what the fragments ask for:{}", lines(.0))]
    Refused(Vec<Refused>),
    /// make failed.
    #[error("`{command}` failed ({status}); its log is `{}`, and ends:\n{last}", .log.display())]
    Make {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
        /// Where everything it said is.
        log: PathBuf,
        /// The end of it.
        last: String,
    },
    /// Something after make.
    #[error("the kernel that was built cannot be prepared")]
    Finish(#[source] CommandError),
    /// The image.
    #[error(transparent)]
    Image(#[from] KernelError),
    /// A file of the build.
    #[error("`{}`", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl KernelBuildError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(packages) => Some(format!("as root: apt-get install {}", packages.join(" "))),
            Self::Refused(_) => Some(
                "each has a dependency that is not met, is selected by something else, or is no symbol of this version; \
                 `make menuconfig` in its source says which"
                    .to_owned(),
            ),
            Self::Version(source) | Self::Finish(source) => source.hint(),
            Self::Unpack(source) => source.hint(),
            Self::Image(source) => source.hint(),
            _ => None,
        }
    }
}

fn listed(packages: &[&str]) -> String {
    packages.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(", ")
}

fn lines(refused: &[Refused]) -> String {
    refused.iter().map(|r| format!("\n  {r}")).collect()
}

/// How an architecture's kernel is built, by Go's name of it.
struct Target {
    architecture: &'static str,
    /// `ARCH=`.
    kernel: &'static str,
    /// `CROSS_COMPILE=`; Debian's native compiler answers to its triple too, so that it is the same everywhere.
    compiler: &'static str,
    /// What is started, below the tree.
    image: &'static str,
    /// Packages of the compiler and of its binutils, native and on other machines.
    packages: [[&'static str; 2]; 2],
}

const TARGETS: [Target; 1] = [Target {
    architecture: "amd64",
    kernel: "x86_64",
    compiler: "x86_64-linux-gnu-",
    image: "arch/x86/boot/bzImage",
    packages: [["gcc", "gcc-x86-64-linux-gnu"], ["binutils", "binutils-x86-64-linux-gnu"]],
}];

/// Programs and headers of the building machine that every kernel wants, by package.
const TOOLS: [(&str, &str); 9] = [
    ("bc", "bc"),
    ("bison", "bison"),
    ("flex", "flex"),
    ("gcc", "gcc"),
    ("make", "make"),
    ("perl", "perl"),
    ("/usr/include/gelf.h", "libelf-dev"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("depmod", "kmod"),
];

/// What some kernels want besides.
const OPTIONAL: [(&str, &str, &str); 6] = [
    ("CONFIG_KERNEL_LZ4", "lz4", "lz4"),
    ("CONFIG_KERNEL_XZ", "xz", "xz-utils"),
    ("CONFIG_KERNEL_ZSTD", "zstd", "zstd"),
    ("CONFIG_DEBUG_INFO_BTF", "pahole", "pahole"),
    ("CONFIG_MODULE_SIG_FORMAT", "/usr/include/openssl/cms.h", "libssl-dev"),
    ("CONFIG_SYSTEM_TRUSTED_KEYRING", "/usr/include/openssl/cms.h", "libssl-dev"),
];

/// A kernel to be built.
pub(crate) struct KernelBuild<'a> {
    recipe: &'a KernelRecipe,
    target: &'static Target,
    requests: Vec<Request>,
}

impl<'a> KernelBuild<'a> {
    /// Reads the fragments.
    pub(crate) fn new(recipe: &'a KernelRecipe, architecture: &str) -> Result<Self, KernelBuildError> {
        let target = TARGETS.iter().find(|t| t.architecture == architecture);
        let target = target.ok_or_else(|| KernelBuildError::Architecture(architecture.to_owned()))?;
        let mut requests = Vec::new();
        for path in recipe.config.iter().map(|fragment| &fragment.value) {
            let text = fs::read_to_string(path).map_err(|source| SourceError { path: path.clone(), source })?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            requests.extend(kconfig::parse(&name, &text)?);
        }
        Ok(Self { recipe, target, requests: kconfig::effective(requests) })
    }

    /// What, besides the source, the image is made from: requests, and the tools whose output is in it.
    pub(crate) fn inputs(&self) -> Result<serde_json::Value, KernelBuildError> {
        let wanted = kconfig::lines(&self.requests);
        self.check_tools(&wanted)?;
        let mut tools = vec![format!("{}gcc", self.target.compiler), format!("{}ld", self.target.compiler)];
        let compressor =
            OPTIONAL.iter().filter(|(symbol, program, _)| !program.starts_with('/') && kconfig::is_on(&wanted, symbol));
        tools.extend(compressor.map(|(_, program, _)| (*program).to_owned()));
        let version = |tool: &String| {
            let output = command(tool, "gcc").and_then(|mut c| run(c.arg("--version")));
            let output = output.map_err(KernelBuildError::Version)?;
            Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
        };
        let versions = tools.iter().map(version).collect::<Result<Vec<String>, KernelBuildError>>()?;
        Ok(serde_json::json!([RECIPE, wanted, versions]))
    }

    /// Says what is missing, all of it, before anything is fetched.
    fn check_tools(&self, config: &str) -> Result<(), KernelBuildError> {
        let there = |what: &str| if what.starts_with('/') { Path::new(what).exists() } else { find(what).is_some() };
        let native = usize::from(!self.target.kernel.eq(std::env::consts::ARCH));
        let compiler = ["gcc", "ld"].iter().zip(self.target.packages).filter_map(|(program, packages)| {
            (!there(&format!("{}{program}", self.target.compiler))).then_some(packages[native])
        });
        let tools = TOOLS.iter().filter(|(what, _)| !there(what)).map(|(_, package)| *package);
        let optional = OPTIONAL.iter().filter(|(symbol, what, _)| kconfig::is_on(config, symbol) && !there(what));
        let mut missing: Vec<&str> = compiler.chain(tools).chain(optional.map(|(_, _, package)| *package)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() { Ok(()) } else { Err(KernelBuildError::Missing(missing)) }
    }

    /// Builds the kernel and lays its image into the layer begun last.
    pub(crate) fn build(
        &self,
        debs: &[PathBuf],
        epoch: i64,
        scratch: &Path,
        log: &Path,
        reporter: &dyn Reporter,
        tree: &mut Assembly,
    ) -> Result<(), KernelBuildError> {
        reporter.note(&format!("unpacking {}", self.recipe.source.value));
        let source = self.unpack(debs, epoch, scratch)?;
        let make = Make { target: self.target, source: &source, log, timestamp: timestamp(epoch)?, reporter };
        at(log, log.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(log)).map(drop))?;

        let config = source.join(".config");
        make.run("configuring the kernel", &["tinyconfig"])?;
        let append =
            || File::options().append(true).open(&config)?.write_all(kconfig::lines(&self.requests).as_bytes());
        at(&config, append())?;
        make.run("completing the configuration", &["olddefconfig"])?;
        let configured = at(&config, fs::read_to_string(&config))?;
        let refused = kconfig::refused(&self.requests, &configured);
        if !refused.is_empty() {
            return Err(KernelBuildError::Refused(refused));
        }
        self.check_tools(&configured)?;

        let jobs = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        reporter.note(&format!("what make says is in {}", log.display()));
        make.run("compiling the kernel", &[&format!("-j{jobs}"), "all"])?;
        let installed = scratch.join("installed");
        let into = format!("INSTALL_MOD_PATH={}", installed.display());
        make.run("installing modules", &[&into, "INSTALL_MOD_STRIP=1", "DEPMOD=true", "modules_install"])?;
        let parts = self.parts(&source, &installed, epoch)?;
        kernel::image(parts, epoch, scratch, tree)?;
        // What is in the image is open, and the tree is gigabytes.
        at(&source, fs::remove_dir_all(&source))
    }

    /// Unpacks the source and says where it is.
    fn unpack(&self, debs: &[PathBuf], epoch: i64, scratch: &Path) -> Result<PathBuf, KernelBuildError> {
        let name = &self.recipe.source.value;
        let no_source = || KernelBuildError::NoSource(name.clone());
        let path = TreePath::new(format!("usr/src/{name}.tar.xz")).map_err(|_| no_source())?;
        let recipe = DebianRecipe {
            packages: Vec::new(),
            depends: false,
            include: vec![path.to_string()],
            exclude: Vec::new(),
            kernel: false,
        };
        let mut unpacked = Assembly::new(epoch);
        unpacked.begin_layer();
        match debian::unpack(debs, &recipe, epoch, scratch, &mut unpacked) {
            Err(DebianError::Unmatched(_)) => return Err(no_source()),
            result => result.map_err(|e| KernelBuildError::Unpack(Box::new(e)))?,
        }
        let Some(Body::File(bytes)) = unpacked.get(&path).map(|e| &e.body) else { return Err(no_source()) };
        let into = scratch.join("source");
        at(&into, tar::Archive::new(lzma_rust2::XzReader::new(bytes.open(), true)).unpack(&into))?;
        let source = into.join(name);
        if source.join("Makefile").is_file() { Ok(source) } else { Err(no_source()) }
    }

    /// What the image is made of.
    fn parts(&self, source: &Path, installed: &Path, epoch: i64) -> Result<Parts, KernelBuildError> {
        let release = source.join("include/config/kernel.release");
        let release = at(&release, fs::read_to_string(&release))?.trim().to_owned();
        let vmlinux = source.join("vmlinux.stripped");
        let mut strip =
            command(&format!("{}strip", self.target.compiler), "binutils").map_err(KernelBuildError::Finish)?;
        run(strip.arg("-o").arg(&vmlinux).arg(source.join("vmlinux"))).map_err(KernelBuildError::Finish)?;
        let mut modules = Entries::new();
        let directory = installed.join("lib/modules").join(&release);
        for (inner, kind) in sources::walk(&directory)? {
            if let Source::File { .. } = kind {
                let path = TreePath::new(inner.as_os_str().as_encoded_bytes()).expect("part of a path");
                modules.insert(path, Entry::file(opened(&directory.join(&inner))?, 0o644, epoch));
            }
        }
        Ok(Parts {
            release,
            kernel: opened(&source.join(self.target.image))?,
            vmlinux: Some(opened(&vmlinux)?),
            config: Some(opened(&source.join(".config"))?),
            modules,
        })
    }
}

/// make in the kernel's source.
struct Make<'a> {
    target: &'a Target,
    source: &'a Path,
    log: &'a Path,
    timestamp: String,
    reporter: &'a dyn Reporter,
}

impl Make<'_> {
    /// Runs make to its end; all it says goes to the log.
    fn run(&self, doing: &str, arguments: &[&str]) -> Result<(), KernelBuildError> {
        let mut make = command("make", "make").map_err(KernelBuildError::Finish)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Nothing of the user's environment (CFLAGS, KCFLAGS, LOCALVERSION, MAKEFLAGS) may reach the kernel.
        make.env_clear().env("PATH", path).env("LC_ALL", "C").envs(self.environment()).current_dir(self.source);
        make.arg(format!("ARCH={}", self.target.kernel)).arg(format!("CROSS_COMPILE={}", self.target.compiler));
        make.args(arguments);
        let mut log = at(self.log, File::options().append(true).open(self.log))?;
        let (said, end) = at(self.log, io::pipe())?;
        make.stdout(at(self.log, end.try_clone())?).stderr(end);
        let mut running = at(Path::new("make"), make.spawn())?;
        // The pipe ends when nobody can write to it any more, and the command still could.
        drop(make);
        let mut task = self.reporter.start(doing, None);
        let mut last: VecDeque<String> = VecDeque::new();
        let mut count: u64 = 0;
        for line in BufReader::new(said).split(b'\n') {
            let mut line = at(self.log, line)?;
            last.push_back(String::from_utf8_lossy(&line).into_owned());
            if last.len() > LAST_LINES {
                last.pop_front();
            }
            line.push(b'\n');
            at(self.log, log.write_all(&line))?;
            task.advance(line.len() as u64);
            count += 1;
            if count.is_multiple_of(NOTE_EVERY) {
                self.reporter.note(&format!("{doing}: {count} steps done"));
            }
        }
        let status = at(Path::new("make"), running.wait())?;
        if status.success() {
            return Ok(());
        }
        Err(KernelBuildError::Make {
            command: format!("make {}", arguments.join(" ")),
            status: status.to_string(),
            log: self.log.to_owned(),
            last: Vec::from(last).join("\n"),
        })
    }

    /// What would differ from one machine and day to the next.
    fn environment(&self) -> BTreeMap<&'static str, &str> {
        BTreeMap::from([
            ("KBUILD_BUILD_HOST", "bootwright"),
            ("KBUILD_BUILD_TIMESTAMP", self.timestamp.as_str()),
            ("KBUILD_BUILD_USER", "bootwright"),
            ("KBUILD_BUILD_VERSION", "1"),
        ])
    }
}

/// A file that stays readable when its directory is gone.
fn opened(path: &Path) -> Result<Bytes, KernelBuildError> {
    let file = at(path, File::open(path))?;
    let len = at(path, file.metadata())?.len();
    Ok(Bytes::Range { file: Arc::new(file), offset: 0, len })
}

/// A time as `uname -v` says it, in the form that date(1) has in the C locale.
fn timestamp(epoch: i64) -> Result<String, KernelBuildError> {
    let mut date = command("date", "coreutils").map_err(KernelBuildError::Finish)?;
    date.args(["-u", "-d", &format!("@{epoch}"), "+%a %b %e %H:%M:%S UTC %Y"]).env("LC_ALL", "C");
    let output = run(&mut date).map_err(KernelBuildError::Finish)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, KernelBuildError> {
    result.map_err(|source| KernelBuildError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use bootwright_oci::Silent;
    use bootwright_spec::{SourceId, Span, Spanned};

    use super::*;

    /// Stands for Linux: the same targets, files and variables, and nothing compiled. Kconfig drops `CONFIG_DROPPED`.
    const MAKEFILE: &str = r#"
tinyconfig:
	@echo CONFIG_TINY=y > .config
olddefconfig:
	@grep -v CONFIG_DROPPED .config > .config.new; mv .config.new .config
all:
	@mkdir -p arch/x86/boot include/config
	@if grep -q CONFIG_BROKEN .config; then for n in $$(seq 40); do echo step $$n; done; echo 'a.c:1: error' >&2; exit 1; fi
	@echo "$(ARCH) $(CROSS_COMPILE) $$KBUILD_BUILD_USER $$KBUILD_BUILD_HOST $$KBUILD_BUILD_TIMESTAMP $$KCFLAGS" \
	  > arch/x86/boot/bzImage
	@cp /bin/ls vmlinux
	@echo 6.12.1-tiny > include/config/kernel.release
modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/6.12.1-tiny/kernel/fs
	@cd $(INSTALL_MOD_PATH)/lib/modules/6.12.1-tiny && ln -s $(CURDIR) build && touch modules.order modules.builtin.modinfo \
	  && echo kernel/fs/ext4/ext4.ko > modules.builtin
"#;

    /// A package as Debian's `linux-source-*` are.
    fn source_package(directory: &Path) -> PathBuf {
        let path = directory.join("source.deb");
        let script = r#"
            set -e
            cd "$1"
            mkdir -p linux-source-1 deb/usr/src deb/DEBIAN
            printf '%s' "$2" > linux-source-1/Makefile
            tar -cJf deb/usr/src/linux-source-1.tar.xz linux-source-1
            printf 'Package: linux-source-1\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n' > deb/DEBIAN/control
            dpkg-deb --root-owner-group --build deb source.deb
        "#;
        run(command("sh", "dash").unwrap().args(["-c", script, "sh"]).arg(directory).arg(MAKEFILE)).unwrap();
        path
    }

    struct Bench {
        directory: tempfile::TempDir,
        deb: PathBuf,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let deb = source_package(directory.path());
            Self { directory, deb }
        }

        /// Builds with one fragment into an image's entries.
        fn build(&self, source: &str, fragment: &str) -> Result<Entries, KernelBuildError> {
            let span = Span { source: SourceId(0), start: 0, end: 0 };
            let path = self.directory.path().join("a.config");
            fs::write(&path, fragment).unwrap();
            let recipe = KernelRecipe {
                source: Spanned { value: source.to_owned(), span },
                config: vec![Spanned { value: path, span }],
            };
            let scratch = tempfile::tempdir_in(self.directory.path()).unwrap();
            let mut tree = Assembly::new(0);
            tree.begin_layer();
            let debs = [self.deb.clone()];
            let log = self.log();
            KernelBuild::new(&recipe, "amd64")?.build(&debs, 0, scratch.path(), &log, &Silent, &mut tree)?;
            Ok(tree.merged().clone())
        }

        fn log(&self) -> PathBuf {
            self.directory.path().join("logs/kernel.log")
        }
    }

    fn text(entries: &Entries, path: &str) -> String {
        let Body::File(bytes) = &entries[&TreePath::new(path).unwrap()].body else { panic!("{path} is a file") };
        String::from_utf8_lossy(&bytes.read().unwrap()).into_owned()
    }

    #[test]
    fn a_kernel_image_holds_both_forms_of_the_kernel_its_configuration_and_what_is_built_in() {
        let bench = Bench::new();
        let image = bench.build("linux-source-1", "CONFIG_EXT4_FS=y\n").unwrap();
        let names: Vec<String> = image.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["config", "kernel", "kernel.tar", "vmlinux"]);
        // Who builds, where, when and with which flags is the same on every machine.
        assert_eq!(
            text(&image, "kernel"),
            "x86_64 x86_64-linux-gnu- bootwright bootwright Thu Jan  1 00:00:00 UTC 1970 \n"
        );
        assert_eq!(text(&image, "config"), "CONFIG_TINY=y\nCONFIG_EXT4_FS=y\n");
        assert!(text(&image, "vmlinux").starts_with("\x7fELF"));
        let Body::File(tar) = &image[&TreePath::new("kernel.tar").unwrap()].body else { panic!("a file") };
        let mut members = BTreeMap::new();
        for entry in tar::Archive::new(tar.open()).entries().unwrap() {
            let entry = entry.unwrap();
            members.insert(entry.path().unwrap().display().to_string(), entry.size());
        }
        // depmod was there, nothing leads to where the kernel was built.
        assert_eq!(members["lib/modules/6.12.1-tiny/modules.dep"], 0);
        assert!(members["lib/modules/6.12.1-tiny/modules.builtin"] > 0);
        assert!(!members.contains_key("lib/modules/6.12.1-tiny/build"));
    }

    #[test]
    fn what_kconfig_refuses_is_named_before_anything_is_compiled() {
        let bench = Bench::new();
        let error = bench.build("linux-source-1", "CONFIG_A=y\n\nCONFIG_DROPPED=y\nCONFIG_TINY=n\n").unwrap_err();
        let want = "Kconfig refuses what the fragments ask for:\n  a.config:3: wanted CONFIG_DROPPED=y, got n";
        assert_eq!(error.to_string(), want);
        assert!(error.hint().is_some_and(|hint| hint.contains("dependency")));
        assert_eq!(fs::read_to_string(bench.log()).unwrap(), "");
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log_and_says_where_the_rest_is() {
        let bench = Bench::new();
        let error = bench.build("linux-source-1", "CONFIG_BROKEN=y\n").unwrap_err().to_string();
        assert!(error.contains(&format!("its log is `{}`", bench.log().display())), "{error}");
        assert!(error.contains("a.c:1: error") && error.contains("step 40") && !error.contains("step 20\n"), "{error}");
        assert!(fs::read_to_string(bench.log()).unwrap().starts_with("step 1\n"));
    }

    #[test]
    fn a_package_without_a_source_is_refused() {
        let error = Bench::new().build("linux-source-2", "CONFIG_A=y\n").unwrap_err();
        assert!(matches!(&error, KernelBuildError::NoSource(name) if name == "linux-source-2"), "{error}");
    }

    #[test]
    fn the_time_of_a_build_is_the_epochs() {
        assert_eq!(timestamp(0).unwrap(), "Thu Jan  1 00:00:00 UTC 1970");
        assert_eq!(timestamp(1_700_000_000).unwrap(), "Tue Nov 14 22:13:20 UTC 2023");
    }
}
