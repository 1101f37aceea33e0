//! Takes the seccomp profile that container engines share from Debian's package `golang-github-containers-common` and
//! embeds it without what nobody reads. The list itself is not ours to keep, so it is fetched when the tool is built:
//! from `BOOTWRIGHT_SECCOMP_PROFILE`, from where the package installs it, or out of the package itself.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Map, Value};

const VARIABLE: &str = "BOOTWRIGHT_SECCOMP_PROFILE";
const INSTALLED: &str = "/usr/share/containers/seccomp.json";
const PACKAGE: &str = "golang-github-containers-common";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let source = find(&out)?;
    // A file that this run has just made is newer than the run: cargo would build everything again.
    if !source.starts_with(&out) {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let text = fs::read_to_string(&source).map_err(|e| format!("reading {}: {e}", source.display()))?;
    let profile = compact(&text).map_err(|e| format!("{}: {e}", source.display()))?;
    fs::write(out.join("seccomp.json"), profile)?;
    Ok(())
}

fn find(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = env::var_os(VARIABLE) {
        return Ok(path.into());
    }
    if Path::new(INSTALLED).is_file() {
        return Ok(INSTALLED.into());
    }
    download(out).map_err(|error| {
        format!(
            "no seccomp profile: {error}\n  install it: apt-get update && apt-get install --yes {PACKAGE}\n  or name one: \
             {VARIABLE}=/path/to/seccomp.json"
        )
        .into()
    })
}

/// Unpacks the one file out of the package, without installing it.
fn download(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let place = out.join("download");
    let target = place.join("seccomp.json");
    if target.is_file() {
        return Ok(target);
    }
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let status = Command::new("apt-get")
        .args(["--quiet", "--quiet", "download", PACKAGE])
        .current_dir(&place)
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("apt-get: {e}"))?;
    if !status.success() {
        return Err(format!("`apt-get download {PACKAGE}` ended with {status}").into());
    }
    let package = fs::read_dir(&place)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .ok_or("apt-get left no package")?;
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&package)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("dpkg-deb: {e}"))?;
    let tar = archive.stdout.take().ok_or("dpkg-deb has no output")?;
    let file = Command::new("tar")
        .args(["--extract", "--to-stdout", "--file=-", &format!(".{INSTALLED}")])
        .stdin(tar)
        .output()
        .map_err(|e| format!("tar: {e}"))?;
    archive.wait()?;
    if !file.status.success() {
        return Err(format!("{} holds no {INSTALLED}", package.display()).into());
    }
    // Written whole or not at all: an interrupted build must not leave half a profile for the next.
    let part = place.join("seccomp.json.part");
    fs::write(&part, &file.stdout)?;
    fs::rename(&part, &target)?;
    Ok(target)
}

/// Keeps the keys that decide something, drops the empty ones, and refuses what is not a profile.
fn compact(text: &str) -> Result<String, Box<dyn Error>> {
    let profile: Value = serde_json::from_str(text)?;
    let rules = profile["syscalls"].as_array().filter(|r| !r.is_empty()).ok_or("it has no `syscalls`")?;
    if !profile["defaultAction"].is_string() {
        return Err("it has no `defaultAction`".into());
    }
    let mut out = keep(&profile, &["defaultAction", "defaultErrnoRet"]);
    let maps = profile["archMap"].as_array().cloned().unwrap_or_default();
    let maps = maps.iter().map(|m| Value::Object(keep(m, &["architecture", "subArchitectures"]))).collect();
    out.insert("archMap".into(), Value::Array(maps));
    let rules = rules
        .iter()
        .map(|rule| {
            let mut kept = keep(rule, &["names", "action", "errnoRet", "args"]);
            for side in ["includes", "excludes"] {
                let condition = keep(&rule[side], &["caps", "arches", "minKernel"]);
                if !condition.is_empty() {
                    kept.insert(side.into(), Value::Object(condition));
                }
            }
            Value::Object(kept)
        })
        .collect();
    out.insert("syscalls".into(), Value::Array(rules));
    Ok(serde_json::to_string(&Value::Object(out))?)
}

fn keep(object: &Value, keys: &[&str]) -> Map<String, Value> {
    let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty) || v.as_str() == Some("");
    keys.iter()
        .filter_map(|key| object.get(key).filter(|v| !empty(v)).map(|v| ((*key).to_owned(), v.clone())))
        .collect()
}
