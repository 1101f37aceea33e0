//! From a package's directory to an image in the store: inputs, tag, and, where the store lacks it, the recipes.
//!
//! The tag is a hash of everything that the image is made from and of nothing else: `build.yml` as it was understood
//! (comments and layout do not count), the files it names, the sources and the compiler of a cargo package, the versions
//! and hashes that apt resolves to. So a tag that is in the store needs no build, and a build that changes while it runs
//! is noticed by asking for the tag again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bootwright_oci::manifest::{Descriptor, OCI_LAYER_ZSTD};
use bootwright_oci::{Digest, Image, Layer, Platform, Reference, Reporter, Store};
use bootwright_spec::{DebianRecipe, Package};
use oci_spec::image::{ConfigBuilder, ImageConfiguration};
use serde_json::{Value, json};

use crate::apt::{Apt, DebianPackage};
use crate::assembly::Assembly;
use crate::cargo::CargoBuild;
use crate::error::Error;
use crate::kernel_build::KernelBuild;
use crate::{debian, files, kernel, layer, load};

/// Label that holds a package's container configuration, LinuxKit's name.
pub const CONFIG_LABEL: &str = "org.mobyproject.config";
/// Label that lists the Debian packages of an image: a JSON array of name, version, architecture and SHA-256.
pub const DEBIAN_LABEL: &str = "org.bootwright.debian.packages";

/// Raised when a recipe makes other bytes of the same inputs.
const FORMAT: u32 = 3;
/// Hex digits of a tag, as many as in a git tree's name.
const TAG_DIGITS: usize = 40;
/// What `@pkg:` begins with.
const TEMPLATE: &str = "@pkg:";

/// Builds packages into a store.
pub struct Builder<'a> {
    /// Where images go.
    pub store: &'a Store,
    /// A directory for what apt fetches and for scratch files, kept between builds; it need not exist.
    pub cache: PathBuf,
    /// What to build for; one manifest each.
    pub platforms: Vec<Platform>,
    /// Whether to do without the network.
    pub offline: bool,
    /// Whether to build what the store has already.
    pub force: bool,
    /// Seconds since 1970 for what has no time of its own (`SOURCE_DATE_EPOCH`); 0 unless there is a reason.
    pub epoch: i64,
    /// Where to say what is done.
    pub reporter: &'a dyn Reporter,
}

/// A package in the store.
#[derive(Clone, Debug)]
pub struct Built {
    /// Its canonical reference, tag included.
    pub name: String,
    /// Digest of its index.
    pub digest: Digest,
    /// Its images, ordered by platform.
    pub images: Vec<Image>,
    /// Whether it was there already.
    pub cached: bool,
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("cache", &self.cache)
            .field("platforms", &self.platforms)
            .finish_non_exhaustive()
    }
}

/// All that one platform's image is made from.
struct Plan<'p> {
    platform: Platform,
    debian: Vec<DebianPackage>,
    cargo: Vec<CargoBuild<'p>>,
    kernel: Option<(KernelBuild<'p>, Vec<DebianPackage>)>,
    name: Reference,
}

impl Builder<'_> {
    /// Replaces `@pkg:DIR` by the reference of the package in `DIR` (relative to `base`), which is built if it is
    /// missing. Any other reference is returned as it is.
    ///
    /// # Errors
    ///
    /// The package cannot be built.
    pub fn resolve(&self, reference: &str, base: &Path) -> Result<String, Error> {
        match reference.strip_prefix(TEMPLATE) {
            Some(directory) => Ok(self.build(&base.join(directory))?.name),
            None => Ok(reference.to_owned()),
        }
    }

    /// The canonical reference of a package, tag included, without building it.
    ///
    /// # Errors
    ///
    /// `build.yml` or an input cannot be read or resolved.
    pub fn show_tag(&self, directory: &Path) -> Result<String, Error> {
        let package = load::package(directory)?;
        let plans = self.plan(directory, &package)?;
        Ok(together(directory, &package, &plans)?.to_string())
    }

    /// Makes sure that a package is in the store.
    ///
    /// # Errors
    ///
    /// `build.yml` is wrong, an input cannot be had, or a recipe fails.
    pub fn build(&self, directory: &Path) -> Result<Built, Error> {
        let package = load::package(directory)?;
        self.build_package(directory, &package)
    }

    /// [`Builder::build`] for a `build.yml` that is parsed already.
    ///
    /// # Errors
    ///
    /// An input cannot be had, or a recipe fails.
    pub fn build_package(&self, directory: &Path, package: &Package) -> Result<Built, Error> {
        let plans = self.plan(directory, package)?;
        let mut built = Vec::new();
        for plan in &plans {
            built.push(self.build_platform(directory, package, plan)?);
        }
        if let [only] = &built[..] {
            return Ok(only.clone());
        }
        let name = together(directory, package, &plans)?.to_string();
        let mut images: Vec<Image> = built.iter().flat_map(|b| b.images.clone()).collect();
        images.iter_mut().for_each(|i| i.name.clone_from(&name));
        images.sort_by(|a, b| a.platform.cmp(&b.platform));
        let index = self.store.write_index(&name, &images).map_err(|e| Error::store(directory, e))?;
        Ok(Built { name, digest: index.digest, images, cached: built.iter().all(|b| b.cached) })
    }

    fn build_platform(&self, directory: &Path, package: &Package, plan: &Plan<'_>) -> Result<Built, Error> {
        let name = plan.name.to_string();
        if !self.force
            && let Some(found) = self.stored(&plan.name, &plan.platform).map_err(|e| Error::store(directory, e))?
        {
            return Ok(found);
        }
        // Of two that want the same package one makes it, and the other finds it made.
        let _turn = self.turn(directory, package)?;
        if !self.force
            && let Some(found) = self.stored(&plan.name, &plan.platform).map_err(|e| Error::store(directory, e))?
        {
            return Ok(found);
        }
        self.reporter.note(&format!("building {name} for {}", plan.platform));
        let scratch = self.scratch(directory, package)?;
        let tree = self.assemble(directory, package, plan, scratch.path())?;
        // What was read above must be what the tag was made of.
        let after = self.plan_platform(directory, package, plan.platform.clone())?;
        if after.name != plan.name {
            return Err(Error::Changed { directory: directory.to_owned() });
        }
        let mut config = self.configuration(package, plan);
        let mut layers = Vec::new();
        for entries in tree.into_layers() {
            let file = layer::write(&entries, scratch.path()).map_err(|e| Error::scratch(scratch.path(), e))?;
            self.store.put_expected(file.digest, file.size, &file.file).map_err(|e| Error::store(directory, e))?;
            config.rootfs_mut().diff_ids_mut().push(file.diff_id.to_string());
            let media_type = OCI_LAYER_ZSTD.to_owned();
            layers.push(Layer { digest: file.digest, size: file.size, media_type });
        }
        let written = self.store.write_image(&name, &plan.platform, config, layers);
        let image = written.map_err(|e| Error::store(directory, e))?;
        let index = self.store.write_index(&name, std::slice::from_ref(&image));
        let digest = index.map_err(|e| Error::store(directory, e))?.digest;
        Ok(Built { name, digest, images: vec![image], cached: false })
    }

    /// Runs the recipes, one layer each.
    fn assemble(
        &self,
        directory: &Path,
        package: &Package,
        plan: &Plan<'_>,
        scratch: &Path,
    ) -> Result<Assembly, Error> {
        let mut tree = Assembly::new(self.epoch);
        if !plan.cargo.is_empty() {
            tree.begin_layer();
        }
        for cargo in &plan.cargo {
            cargo.build(self.offline, self.epoch, self.reporter, &mut tree).map_err(|e| Error::cargo(directory, e))?;
        }
        if let Some(recipe) = &package.debian {
            let apt = self.apt(&plan.platform);
            let debs = apt.fetch(&plan.debian).map_err(|e| Error::apt(directory, e))?;
            if recipe.kernel {
                let mut unpacked = Assembly::new(self.epoch);
                unpacked.begin_layer();
                debian::unpack(&debs, recipe, self.epoch, scratch, &mut unpacked)
                    .map_err(|e| Error::debian(directory, e))?;
                tree.begin_layer();
                kernel::shape(&unpacked, self.epoch, scratch, &mut tree).map_err(|e| Error::kernel(directory, e))?;
            } else {
                tree.begin_layer();
                debian::unpack(&debs, recipe, self.epoch, scratch, &mut tree)
                    .map_err(|e| Error::debian(directory, e))?;
            }
        }
        if let Some((build, source)) = &plan.kernel {
            let debs = self.apt(&plan.platform).fetch(source).map_err(|e| Error::apt(directory, e))?;
            let log =
                self.cache.join("logs").join(format!("{}-{}.log", file_name(package), plan.platform.architecture));
            tree.begin_layer();
            build
                .build(&debs, self.epoch, scratch, &log, self.reporter, &mut tree)
                .map_err(|e| Error::kernel_build(directory, e))?;
        }
        tree.begin_layer();
        files::lay(&package.files, self.epoch, &mut tree).map_err(|e| Error::files(directory, e))?;
        Ok(tree)
    }

    fn configuration(&self, package: &Package, plan: &Plan<'_>) -> ImageConfiguration {
        let mut labels: HashMap<String, String> = package.labels.iter().cloned().collect();
        if let Some(config) = &package.config {
            labels.insert(CONFIG_LABEL.to_owned(), config.to_string());
        }
        let source = plan.kernel.iter().flat_map(|(_, source)| source);
        let debian: Vec<&DebianPackage> = plan.debian.iter().chain(source).collect();
        if !debian.is_empty() {
            labels.insert(DEBIAN_LABEL.to_owned(), json!(debian).to_string());
        }
        let process = &package.process;
        let mut config = ConfigBuilder::default().labels(labels);
        if !process.env.is_empty() {
            config = config.env(process.env.clone());
        }
        if !process.entrypoint.is_empty() {
            config = config.entrypoint(process.entrypoint.clone());
        }
        if !process.cmd.is_empty() {
            config = config.cmd(process.cmd.clone());
        }
        if let Some(workdir) = &process.workdir {
            config = config.working_dir(workdir.clone());
        }
        if let Some(user) = &process.user {
            config = config.user(user.clone());
        }
        let mut image = ImageConfiguration::default();
        image.set_config(Some(config.build().expect("every field has a default")));
        image
    }

    /// The image of a name, if the store has all of it.
    fn stored(&self, name: &Reference, platform: &Platform) -> Result<Option<Built>, bootwright_oci::StoreError> {
        let Some(index) = self.store.find(name)? else { return Ok(None) };
        if !self.store.complete_platforms(&index)?.contains(platform) {
            return Ok(None);
        }
        let name = name.to_string();
        let image = self.store.image(&name, &index, platform)?;
        let Descriptor { digest, .. } = index;
        Ok(Some(Built { name, digest, images: vec![image], cached: true }))
    }

    fn plan<'p>(&self, directory: &Path, package: &'p Package) -> Result<Vec<Plan<'p>>, Error> {
        let offered: Vec<&str> = package.arches.iter().map(|a| a.value.as_str()).collect();
        let mut platforms: Vec<&Platform> =
            self.platforms.iter().filter(|p| offered.contains(&p.architecture.as_str())).collect();
        platforms.sort();
        platforms.dedup();
        if platforms.is_empty() {
            return Err(Error::Platform {
                directory: directory.to_owned(),
                wanted: self.platforms.clone(),
                offered: offered.into_iter().map(str::to_owned).collect(),
            });
        }
        platforms.into_iter().map(|p| self.plan_platform(directory, package, p.clone())).collect()
    }

    fn plan_platform<'p>(&self, directory: &Path, package: &'p Package, platform: Platform) -> Result<Plan<'p>, Error> {
        let cargo: Result<Vec<_>, _> =
            package.cargo.iter().map(|recipe| CargoBuild::new(recipe, directory, &platform.architecture)).collect();
        let cargo = cargo.map_err(|e| Error::cargo(directory, e))?;
        let debian = match &package.debian {
            Some(recipe) => self.resolve_debian(directory, recipe, &platform)?,
            None => Vec::new(),
        };
        let sources: Result<Vec<_>, _> = cargo.iter().map(CargoBuild::inputs).collect();
        let sources = sources.map_err(|e| Error::cargo(directory, e))?;
        let kernel = match &package.kernel {
            Some(recipe) => {
                let build =
                    KernelBuild::new(recipe, &platform.architecture).map_err(|e| Error::kernel_build(directory, e))?;
                let source = [recipe.source.value.clone()];
                let source = self.apt(&platform).resolve(&source, false).map_err(|e| Error::apt(directory, e))?;
                Some((build, source))
            }
            None => None,
        };
        let built = match &kernel {
            Some((build, source)) => json!([build.inputs().map_err(|e| Error::kernel_build(directory, e))?, source]),
            None => Value::Null,
        };
        let files = files::inputs(&package.files).map_err(|e| Error::files(directory, e))?;
        let compression = [zstd::zstd_safe::version_number(), layer::COMPRESSION.unsigned_abs()];
        let ours = [json!(FORMAT), json!(compression), json!(self.epoch), json!(platform.to_string())];
        let inputs = json!([ours, understood(package), sources, debian, built, files]);
        let name = reference(directory, package, &inputs)?;
        Ok(Plan { platform, debian, cargo, kernel, name })
    }

    fn resolve_debian(
        &self,
        directory: &Path,
        recipe: &DebianRecipe,
        platform: &Platform,
    ) -> Result<Vec<DebianPackage>, Error> {
        let names = debian::package_names(recipe, debian::architecture(&platform.architecture));
        self.apt(platform).resolve(&names, recipe.depends).map_err(|e| Error::apt(directory, e))
    }

    fn apt(&self, platform: &Platform) -> Apt<'_> {
        let architecture = debian::architecture(&platform.architecture).to_owned();
        Apt { cache: self.cache.join("apt"), architecture, offline: self.offline, reporter: self.reporter }
    }

    /// Waits until no other process builds a package of this name with this cache.
    fn turn(&self, directory: &Path, package: &Package) -> Result<File, Error> {
        let parent = self.cache.join("turns");
        let lock = || {
            fs::create_dir_all(&parent)?;
            let place = parent.join(file_name(package));
            let file = File::options().create(true).truncate(false).write(true).open(place)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|e| Error::scratch(directory, e))
    }

    /// An empty directory for scratch files, gone when it is dropped. It is called after the package, whose turn it is, so
    /// that what a build that was killed left behind (a kernel's is gigabytes) goes with the next one.
    fn scratch(&self, directory: &Path, package: &Package) -> Result<tempfile::TempDir, Error> {
        let parent = self.cache.join("tmp");
        let name = file_name(package);
        let make = || {
            fs::create_dir_all(&parent)?;
            match fs::remove_dir_all(parent.join(&name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in(&parent),
            }
        };
        make().map_err(|e| Error::scratch(directory, e))
    }
}

/// A package's name where files are called after it.
fn file_name(package: &Package) -> String {
    format!("{}-{}", package.org, package.image.value).replace('/', "-")
}

/// What of `build.yml` reaches the image, in one order.
fn understood(package: &Package) -> Value {
    let process = &package.process;
    let cargo: Vec<Value> = package
        .cargo
        .iter()
        .map(|c| json!([c.package.value, c.bin, c.profile, c.features, c.libc, c.pie, c.path.value, c.links]))
        .collect();
    // The names of Debian packages count as what they resolve to.
    let debian = package.debian.as_ref().map(|d| json!([d.include, d.exclude, d.kernel]));
    let labels: std::collections::BTreeMap<&str, &str> =
        package.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    json!([
        package.org,
        package.image.value,
        package.config.as_ref().map(ToString::to_string),
        labels,
        [
            json!(process.entrypoint),
            json!(process.cmd),
            json!(process.env),
            json!(process.workdir),
            json!(process.user)
        ],
        cargo,
        debian,
    ])
}

fn reference(directory: &Path, package: &Package, inputs: &Value) -> Result<Reference, Error> {
    let digest = Digest::of(inputs.to_string().as_bytes()).hex();
    let text = format!("{}/{}:{}", package.org, package.image.value, &digest[..TAG_DIGITS]);
    text.parse().map_err(|source| Error::Name { directory: directory.to_owned(), source })
}

/// The name of a package for all its platforms: for one, that platform's.
fn together(directory: &Path, package: &Package, plans: &[Plan<'_>]) -> Result<Reference, Error> {
    match plans {
        [only] => Ok(only.name.clone()),
        many => reference(directory, package, &many.iter().map(|p| p.name.to_string()).collect()),
    }
}
