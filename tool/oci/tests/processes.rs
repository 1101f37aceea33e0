//! Several processes on one store, one of them killed: the store stays whole.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bootwright_oci::{Platform, Silent, Store};
use support::*;

const STORE: &str = "BOOTWRIGHT_TEST_STORE";
const SEED: &str = "BOOTWRIGHT_TEST_SEED";

/// Not a test of its own: what the other test runs in processes, until it is killed or has done enough.
#[test]
#[ignore = "run by the test below, in processes of its own"]
fn worker() {
    let Ok(path) = std::env::var(STORE) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    for round in 0..16 {
        let mut store = Store::open(&path).unwrap();
        let shared = noise(7, 50_000);
        let own = noise(seed * 1000 + round, 200_000);
        let image = image(&store, "x", &Platform::linux("amd64"), &[&[("shared", &shared)], &[("own", &own)]]);
        let name = format!("worker-{seed}:{}", round % 3);
        store.write_index(&name, &[image]).unwrap();
        let root = store.find(&reference(&name)).unwrap().unwrap();
        let found = store.image(&name, &root, &Platform::linux("amd64")).unwrap();
        store.flatten(&found, &Silent).unwrap();
        if round % 4 == 3 {
            store.remove(&reference(&name)).unwrap();
        }
        if round % 5 == 4 {
            store.gc(&Silent).unwrap();
        }
        println!("round {round}");
    }
}

fn spawn(store: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--ignored", "--nocapture"])
        .env(STORE, store)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_share_a_store_and_a_killed_one_leaves_it_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    // Killed after this many rounds, in the middle of whatever comes then.
    let mut killed: Vec<(Child, usize)> = (0..4).map(|seed| (spawn(&path, seed), 2 + 2 * seed as usize)).collect();
    let mut finishing = spawn(&path, 9);
    let drain = std::thread::spawn({
        let out = finishing.stdout.take().unwrap();
        move || BufReader::new(out).lines().count()
    });
    for (child, rounds) in &mut killed {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let seen = lines.filter(|line| line.starts_with("round") || line.contains("... round")).take(*rounds).count();
        assert_eq!(seen, *rounds);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(drain.join().unwrap() >= 16);
    assert!(finishing.wait().unwrap().success(), "the others were not disturbed");
    let mut store = Store::open(&path).unwrap();
    let verified = store.verify(&Silent).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    assert!(verified.names >= 4, "{verified:?}");
    let names = store.list().unwrap();
    store.gc(&Silent).unwrap();
    assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0, "what the killed ones left is gone");
    for named in names {
        let image = store.image(&named.name, &named.descriptor, &Platform::linux("amd64")).unwrap();
        store.flatten(&image, &Silent).unwrap();
    }
}
