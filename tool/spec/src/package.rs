//! A package's `build.yml`: the same parser and table, other keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::findings::Findings;
use crate::keys::PACKAGE;
use crate::load::{finish, tree};
use crate::node::Node;
use crate::read::{Reader, flag, items, strings, text, texts};
use crate::{
    CargoRecipe, DebianRecipe, Diagnostic, Diagnostics, Input, KernelRecipe, Package, ProcessConfig, Sources, Spanned,
    emit,
};

/// Reads a package's `build.yml`.
///
/// # Errors
/// Every problem of the file; also when it holds none of our recipes.
pub fn parse_package(input: Input, home: Option<&Path>, sources: &mut Sources) -> Result<Package, Diagnostics> {
    let mut findings = Findings::default();
    let source = sources.add(input.name, input.text);
    let root = tree(source, &PACKAGE, sources, &mut findings);
    let mut reader =
        Reader { directory: input.directory.as_deref(), home, written: BTreeMap::new(), findings: &mut findings };
    let package = root.and_then(|root| package(&root, &mut reader));
    if package.is_none() && !findings.has_errors() {
        findings.push(Diagnostic::error("the package could not be read"));
    }
    finish(findings, drop)?;
    Ok(package.expect("a package that could not be read is an error"))
}

fn package(root: &Node, reader: &mut Reader<'_>) -> Option<Package> {
    let image = text(root, "image");
    let recipe = ["cargo", "debian", "kernel", "files"].iter().any(|key| root.get(key).is_some());
    if !recipe {
        let place = ["dockerfile", "buildArgs", "image"].iter().find_map(|key| root.get(key)).unwrap_or(root);
        reader.findings.push(
            Diagnostic::error("the package has no recipe: packages made by a Dockerfile are not built yet")
                .at(place.span)
                .label("nothing here says how it is made")
                .hint("give one of `cargo:`, `debian:`, `kernel:` and `files:`, or several"),
        );
    }
    let config = root.get("config").map(|node| emit::config(&reader.config(node)));
    let files = items(root, "files").iter().filter_map(|node| reader.file(node)).collect();
    let owned = |key: &str| text(root, key).map(|text| text.value);
    Some(Package {
        image: image?,
        org: owned("org").unwrap_or_else(|| "bootwright".to_owned()),
        arches: texts(root, "arches").unwrap_or_else(|| {
            let span = root.span;
            ["amd64", "arm64"].map(|arch| Spanned { value: arch.to_owned(), span }).to_vec()
        }),
        config,
        cargo: binaries(root, reader),
        debian: root.get("debian").map(debian),
        kernel: root.get("kernel").and_then(|node| kernel(node, reader)),
        files,
        process: root.get("process").map(process).unwrap_or_default(),
        labels: root
            .get("labels")
            .map(|labels| {
                labels
                    .entries()
                    .iter()
                    .filter_map(|(name, value)| Some((name.text.to_string(), value.text()?.to_owned())))
                    .collect()
            })
            .unwrap_or_default(),
    })
}

/// The binaries that `cargo` asks for, one or several. No two of them go to the same place.
fn binaries(root: &Node, reader: &mut Reader<'_>) -> Vec<CargoRecipe> {
    let recipes: Vec<CargoRecipe> = match root.get("cargo") {
        Some(one) if one.list().is_empty() => cargo(one).into_iter().collect(),
        _ => items(root, "cargo").iter().filter_map(|node| cargo(node)).collect(),
    };
    let mut places = BTreeSet::new();
    for recipe in &recipes {
        let links = recipe.links.iter().map(|link| (link, recipe.path.span));
        for (place, span) in [(&recipe.path.value, recipe.path.span)].into_iter().chain(links) {
            if !places.insert(place) {
                reader.findings.push(
                    Diagnostic::error(format!("`cargo` puts two things at `{place}`"))
                        .at(span)
                        .label("something is there already")
                        .hint("every `path` and every one of `links` is a place of its own"),
                );
            }
        }
    }
    recipes
}

fn cargo(node: &Node) -> Option<CargoRecipe> {
    let owned = |key: &str| text(node, key).map(|text| text.value);
    let clean = |path: &str| crate::values::file_path(path).ok();
    let path = text(node, "path")?;
    Some(CargoRecipe {
        package: text(node, "package")?,
        bin: owned("bin"),
        profile: owned("profile").unwrap_or_else(|| "image".to_owned()),
        features: strings(node, "features").unwrap_or_default(),
        libc: owned("target").unwrap_or_else(|| "musl".to_owned()),
        pie: flag(node, "pie").is_none_or(|flag| *flag),
        path: Spanned { value: clean(&path)?, span: path.span },
        links: strings(node, "links").unwrap_or_default().iter().filter_map(|link| clean(link)).collect(),
    })
}

fn debian(node: &Node) -> DebianRecipe {
    DebianRecipe {
        packages: texts(node, "packages").unwrap_or_default(),
        depends: flag(node, "depends").is_none_or(|flag| *flag),
        include: strings(node, "include").unwrap_or_default(),
        exclude: strings(node, "exclude").unwrap_or_default(),
        kernel: flag(node, "kernel").is_some_and(|flag| *flag),
    }
}

fn kernel(node: &Node, reader: &mut Reader<'_>) -> Option<KernelRecipe> {
    Some(KernelRecipe {
        source: text(node, "source")?,
        config: items(node, "config").iter().filter_map(|fragment| reader.source(fragment)).collect(),
    })
}

fn process(node: &Node) -> ProcessConfig {
    ProcessConfig {
        entrypoint: strings(node, "entrypoint").unwrap_or_default(),
        cmd: strings(node, "cmd").unwrap_or_default(),
        env: strings(node, "env").unwrap_or_default(),
        workdir: text(node, "workdir").map(|text| text.value),
        user: text(node, "user").map(|text| text.value),
    }
}
