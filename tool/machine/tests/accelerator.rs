//! Which accelerator a machine gets when KVM is not what it seems. A fake QEMU plays the troubles that were seen; the
//! probe is on, as with `--accel kvm:tcg`, whether this host has KVM or not.

mod common;

use std::time::{Duration, Instant};

use bootwright_machine::{Error, Outcome, Verdict, Verdicts, run};
use common::Fake;

#[test]
fn an_internal_error_under_kvm_starts_again_under_tcg() {
    let fake = Fake::new("connect internal-error serve", "connect Linux bootwright:_end:_poweroff shutdown serve");
    let (outcome, seen) = fake.run();
    assert_eq!(outcome.unwrap(), Outcome::PoweredOff);
    assert_eq!(fake.attempts(), ["kvm", "tcg"]);
    assert!(seen.contains("does not run under kvm (QEMU stopped it with an internal error); starting again under tcg"));
    assert!(seen.contains("Linux\n"), "{seen}");
    let verdict = Verdicts::of_this_boot(&fake.cache()).unwrap().read();
    assert_eq!(verdict, Some(Verdict::Broken("QEMU stopped it with an internal error".into())));
}

#[test]
fn an_internal_error_after_first_words_also_starts_again() {
    let fake = Fake::new("connect Linux internal-error serve", "connect Linux shutdown serve");
    assert_eq!(fake.run().0.unwrap(), Outcome::PoweredOff);
    assert_eq!(fake.attempts(), ["kvm", "tcg"]);
}

#[test]
fn silence_under_kvm_starts_again_under_tcg_after_five_seconds() {
    let fake = Fake::new("connect serve", "connect Linux reset serve");
    let begin = Instant::now();
    let (outcome, seen) = fake.run();
    assert_eq!(outcome.unwrap(), Outcome::Rebooted);
    assert!(begin.elapsed() >= bootwright_machine::SILENCE);
    assert!(begin.elapsed() < bootwright_machine::SILENCE + Duration::from_secs(30));
    assert_eq!(fake.attempts(), ["kvm", "tcg"]);
    assert!(seen.contains("the kernel said nothing"), "{seen}");
    let verdict = Verdicts::of_this_boot(&fake.cache()).unwrap().read();
    assert_eq!(verdict, Some(Verdict::Broken("the kernel said nothing".into())));
}

#[test]
fn a_machine_that_is_silent_everywhere_says_nothing_about_kvm() {
    let fake = Fake::new("connect serve", "connect shutdown serve");
    assert_eq!(fake.run().0.unwrap(), Outcome::PoweredOff);
    assert_eq!(fake.attempts(), ["kvm", "tcg"]);
    assert_eq!(Verdicts::of_this_boot(&fake.cache()).unwrap().read(), None);
}

#[test]
fn a_kvm_that_does_not_open_starts_again_under_tcg() {
    let fake = Fake::new("no-kvm", "connect Linux shutdown serve");
    let (outcome, seen) = fake.run();
    assert_eq!(outcome.unwrap(), Outcome::PoweredOff);
    assert!(seen.contains("Permission denied"), "{seen}");
    assert_eq!(fake.attempts(), ["kvm", "tcg"]);
}

#[test]
fn a_kvm_that_works_is_kept_and_remembered() {
    let fake = Fake::new("connect Linux shutdown serve", "die");
    assert_eq!(fake.run().0.unwrap(), Outcome::PoweredOff);
    assert_eq!(fake.attempts(), ["kvm"]);
    assert_eq!(Verdicts::of_this_boot(&fake.cache()).unwrap().read(), Some(Verdict::Works));
}

#[test]
fn a_flood_on_the_console_arrives_whole_and_holds_nothing_up() {
    let mut fake = Fake::new("", "connect flood shutdown serve");
    fake.config.accel = "tcg".parse().unwrap();
    let (outcome, seen) = fake.run();
    assert_eq!(outcome.unwrap(), Outcome::PoweredOff);
    assert_eq!(seen.lines().count(), 200_000);
    assert!(seen.ends_with("line 199999 of a console that nobody stops\n"));
}

#[test]
fn kvm_alone_has_no_way_out() {
    let mut fake = Fake::new("connect internal-error serve", "die");
    fake.config.accel = "kvm".parse().unwrap();
    let error = fake.run().0.unwrap_err();
    assert!(matches!(error, Error::Accelerator { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--accel"));
    assert_eq!(fake.attempts(), ["kvm"]);
}

#[test]
fn a_qemu_that_dies_is_told_apart_from_a_machine_that_ends() {
    let mut fake = Fake::new("", "connect Linux die");
    fake.config.accel = "tcg".parse().unwrap();
    let error = fake.run().0.unwrap_err();
    assert!(matches!(&error, Error::Died { status, .. } if status.code() == Some(7)), "{error:?}");

    let mut fake = Fake::new("", "bad-port");
    fake.config.accel = "tcg".parse().unwrap();
    let error = fake.run().0.unwrap_err();
    assert!(error.to_string().contains("host forwarding rule"), "{error}");
    assert!(error.hint().unwrap().contains("another program listens"));
}

#[test]
fn a_missing_qemu_says_how_to_get_it() {
    let mut fake = Fake::new("", "");
    fake.config.qemu = Some("/nonexistent/qemu-system-x86_64".into());
    let error = run(&fake.config, &mut common::Recorder::default(), &fake.cache()).unwrap_err();
    assert_eq!(error.to_string(), "`/nonexistent/qemu-system-x86_64` was not found");
    assert_eq!(error.hint().unwrap(), "apt-get install qemu-system-x86");
}
