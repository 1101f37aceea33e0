//! Archives as somebody may hand them over: imported into a store with small limits.
//!
//! Half of the inputs are tars as they are, the others are names and contents that a right tar is made of, so that the
//! JSON behind the headers is reached. Nothing but whole blobs may be in the store afterwards.
#![no_main]

use std::sync::Mutex;

use bootwright_oci::archive::{ArchiveLimits, import_stream};
use bootwright_oci::{Reference, Silent, Store};
use libfuzzer_sys::fuzz_target;

/// How many inputs share a store before it is swept.
const SWEEP: u32 = 500;

static STORE: Mutex<Option<(tempfile::TempDir, Store, u32)>> = Mutex::new(None);

fn make() -> (tempfile::TempDir, Store, u32) {
    let base = if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let directory = tempfile::tempdir_in(base).expect("a temporary directory");
    let store = Store::open(directory.path()).expect("an empty store");
    (directory, store, 0)
}

/// `name\ncontent\0name\ncontent\0…` as a tar; the names `C` and `M` are the configuration's and the manifest's.
fn tar_of(data: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in data.split(|b| *b == 0) {
        let at = file.iter().position(|b| *b == b'\n').unwrap_or(file.len());
        let (name, content) = (&file[..at.min(90)], &file[(at + 1).min(file.len())..]);
        let name = match name {
            b"C" => b"c.json",
            b"M" => &b"manifest.json"[..],
            b"I" => b"index.json",
            other => other,
        };
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).expect("into memory");
    }
    builder.into_inner().expect("into memory")
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let bytes = if kind % 2 == 0 { data.to_vec() } else { tar_of(data) };
    let limits = ArchiveLimits { entries: 64, spooled: 1 << 20 };
    let name: Option<Reference> = (kind / 2 % 2 == 0).then(|| "fuzz/image:1".parse().expect("a reference"));
    let mut guard = STORE.lock().expect("one thread");
    let (_, store, count) = guard.get_or_insert_with(make);
    match import_stream(store, &mut &bytes[..], name.as_ref(), &limits, &Silent) {
        Ok(imported) => {
            for image in imported {
                for platform in &image.platforms {
                    store.image("fuzz", &image.descriptor, platform).expect("what was imported is whole");
                }
                store.remove(&image.name).ok();
            }
        }
        Err(error) => drop((error.to_string(), error.hint())),
    }
    *count += 1;
    if *count % SWEEP == 0 {
        assert_eq!(store.verify(&Silent).expect("it can be read").problems, Vec::<String>::new());
        store.gc(&Silent).expect("it can be swept");
    }
});
