//! Any bytes as a spec, a label and a package: refused with diagnostics that render, or read; and what was read and
//! written back reads the same.
#![no_main]

use std::path::{Path, PathBuf};

use bootwright_spec::{Input, Sources, load, parse_label, parse_package, to_json, to_yaml};
use libfuzzer_sys::fuzz_target;

fn input(text: &str, directory: &str) -> Input {
    Input { name: "fuzz.yml".into(), text: text.into(), directory: Some(PathBuf::from(directory)) }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut sources = Sources::default();
    match load(vec![input(&text, "dir")], Some(Path::new("/home")), &mut sources) {
        Ok(spec) => {
            let yaml = to_yaml(&spec);
            let json = to_json(&spec);
            for written in [&yaml, &json] {
                let again = load(vec![input(written, "")], None, &mut sources);
                let again = again.unwrap_or_else(|found| panic!("{}\n{written}", found.render(&sources, false)));
                assert_eq!(to_yaml(&again), yaml);
                assert_eq!(to_json(&again), json);
            }
        }
        Err(found) => {
            assert!(found.has_errors());
            assert!(found.render(&sources, true).len() < 400_000);
            let _ = found.to_json(&sources);
        }
    }
    match parse_label("label", &text, &mut sources) {
        Ok(config) => drop(config.clone().over(config)),
        Err(found) => assert!(found.has_errors() && !found.render(&sources, false).is_empty()),
    }
    if let Err(found) = parse_package(input(&text, "pkg"), None, &mut sources) {
        assert!(found.has_errors());
    }
});
