//! What init makes of our filters, beside what libseccomp makes of them: the same answer to each system call.

use std::fs;

use bootwright_seccomp::Program;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use serde_json::{Value, json};

use super::profile;

type Instruction = libc::sock_filter;

/// A system call: number, architecture and arguments.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

const ARCHITECTURES: [(Arch, ScmpArch, u32); 5] = [
    (Arch::ScmpArchX86_64, ScmpArch::X8664, 0xc000_003e),
    (Arch::ScmpArchX86, ScmpArch::X86, 0x4000_0003),
    (Arch::ScmpArchAarch64, ScmpArch::Aarch64, 0xc000_00b7),
    (Arch::ScmpArchArm, ScmpArch::Arm, 0x4000_0028),
    (Arch::ScmpArchRiscv64, ScmpArch::Riscv64, 0xc000_00f3),
];

/// Runs a program (Documentation/networking/filter.rst), in the part that seccomp takes.
fn run(program: &[Instruction], call: &Call) -> u32 {
    let word = |place: u32| match place {
        0 => call.number,
        4 => call.architecture,
        16..64 => (call.arguments[(place as usize - 16) / 8] >> (place % 8 * 8)) as u32,
        _ => panic!("a load from {place}"),
    };
    let (mut at, mut loaded) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let skip = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => loaded = word(k),
            0x54 => loaded &= k,
            0x05 => at += k as usize,
            0x15 => at += skip(loaded == k),
            0x25 => at += skip(loaded > k),
            0x35 => at += skip(loaded >= k),
            0x06 => return k,
            _ => panic!("an instruction {code:#x}"),
        }
    }
}

/// libseccomp's program for a filter, made as youki and runc make it.
fn oracle(filter: &LinuxSeccomp) -> Vec<Instruction> {
    let action = |action: LinuxSeccompAction, errno: Option<u32>| match action {
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno.unwrap_or(1) as i32),
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno.unwrap_or(1) as u16),
        other => panic!("{other:?}"),
    };
    let default = action(filter.default_action(), filter.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).unwrap();
    context.remove_arch(ScmpArch::Native).unwrap();
    for named in filter.architectures().iter().flatten() {
        let (_, architecture, _) = ARCHITECTURES.iter().find(|(arch, ..)| arch == named).unwrap();
        context.add_arch(*architecture).unwrap();
    }
    for rule in filter.syscalls().iter().flatten() {
        let wanted = action(rule.action(), rule.errno_ret());
        let known = rule.names().iter().filter_map(|name| ScmpSyscall::from_name(name).ok());
        for call in known.filter(|_| wanted != default) {
            let arguments: Vec<_> = rule.args().iter().flatten().map(comparison).collect();
            context.add_rule_conditional(wanted, call, &arguments).unwrap();
        }
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    context.export_bpf(file.as_file_mut()).unwrap();
    let bytes = fs::read(file.path()).unwrap();
    let half = |bytes: &[u8]| u16::from_le_bytes(bytes.try_into().unwrap());
    bytes
        .chunks(8)
        .map(|i| Instruction {
            code: half(&i[..2]),
            jt: i[2],
            jf: i[3],
            k: u32::from_le_bytes(i[4..].try_into().unwrap()),
        })
        .collect()
}

fn comparison(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let (op, datum) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, argument.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, argument.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, argument.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(argument.value()), argument.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(argument.index() as u32, op, datum)
}

/// Both programs answer the calls alike. How often each answer was given.
fn agree(filter: &LinuxSeccomp, calls: impl Iterator<Item = Call>) -> std::collections::BTreeMap<u32, usize> {
    let (ours, theirs) = (Program::compile(filter).unwrap().instructions, oracle(filter));
    let mut answers = std::collections::BTreeMap::new();
    for call in calls {
        let answer = run(&ours, &call);
        assert_eq!(format!("{answer:#x}"), format!("{:#x}", run(&theirs, &call)), "{call:x?}");
        *answers.entry(answer).or_default() += 1;
    }
    answers
}

/// Values on both sides of everything that filters compare.
const VALUES: [u64; 14] = [
    0,
    1,
    8,
    9,
    10,
    16,
    0x2_0000,
    0x2_0008,
    0x7e02_0000,
    0x0002_0011,
    u32::MAX as u64,
    1 << 32,
    (1 << 32) + 16,
    u64::MAX,
];

#[test]
fn the_default_filter_means_what_libseccomp_makes_of_it() {
    let sets: [&[&str]; 4] = [&[], &["CAP_SYS_ADMIN"], &["CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_BPF"], &["all"]];
    for (architecture, audits) in [
        ("amd64", &[0xc000_003e, 0x4000_0003][..]),
        ("arm64", &[0xc000_00b7, 0x4000_0028]),
        ("riscv64", &[0xc000_00f3]),
    ] {
        for set in sets {
            let has = |capability: &str| set.contains(&capability) || set == ["all"];
            let filter = serde_json::to_value(profile().resolve(architecture, has, None)).unwrap();
            let filter: LinuxSeccomp = serde_json::from_value(filter).unwrap();
            // Newer than libseccomp are only those that ours may know and it does not.
            let newest = 450;
            let numbers = |audit| {
                (0..newest).chain([1000, 0x3fff_ffff]).chain(if audit == 0x4000_0028 {
                    0xf_0001..0xf_0006
                } else {
                    0..0
                })
            };
            let calls = audits.iter().flat_map(|audit| {
                numbers(*audit).flat_map(move |number| {
                    VALUES.iter().flat_map(move |first| {
                        VALUES.iter().map(move |third| {
                            // Registers of these have 32 bits, and libseccomp looks at no more.
                            let bits = if audit & 0x8000_0000 == 0 { u64::from(u32::MAX) } else { u64::MAX };
                            let arguments = [first & bits, 3, third & bits, 0, 0, 0];
                            Call { number, architecture: *audit, arguments }
                        })
                    })
                })
            });
            let answers = agree(&filter, calls);
            assert!(answers.len() >= 3, "{architecture} {set:?}: {answers:x?}");
            let ours = Program::compile(&filter).unwrap().instructions;
            for (number, architecture) in [(0, 0xc000_0015), (0x4000_0000, 0xc000_003e), (u32::MAX, 0xc000_003e)] {
                assert_eq!(
                    run(&ours, &Call { number, architecture, arguments: [0; 6] }),
                    libc::SECCOMP_RET_KILL_PROCESS
                );
            }
        }
    }
}

#[test]
fn every_comparison_means_what_libseccomp_makes_of_it() {
    let filter = |arguments: &Value| -> LinuxSeccomp {
        let rules = json!([
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7},
            {"names": ["write"], "action": "SCMP_ACT_LOG", "args": arguments},
            {"names": ["close", "no_such_call"], "action": "SCMP_ACT_TRACE", "errnoRet": 5, "args": []},
            {"names": ["lseek"], "action": "SCMP_ACT_KILL_PROCESS"},
        ]);
        let filter =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules});
        serde_json::from_value(filter).unwrap()
    };
    let calls = || {
        [0, 1, 3, 8, 9].into_iter().flat_map(|number| {
            VALUES.iter().flat_map(move |second| {
                VALUES.iter().map(move |sixth| Call {
                    number,
                    architecture: 0xc000_003e,
                    arguments: [0, *second, 0, 0, 0, *sixth],
                })
            })
        })
    };
    for op in ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"] {
        let op = format!("SCMP_CMP_{op}");
        for value in VALUES {
            let one =
                |index: u32, value: u64| json!({"index": index, "value": value, "valueTwo": value & 0x8, "op": op});
            agree(&filter(&json!([one(1, value)])), calls());
            let answers = agree(&filter(&json!([one(1, value), one(5, 9)])), calls());
            assert!(answers.len() >= 4, "{op} {value:#x}: {answers:x?}");
        }
    }
}

#[test]
fn what_no_kernel_takes_is_refused_and_the_rest_is_read_as_it_stands() {
    let filter = |value: Value| serde_json::from_value::<LinuxSeccomp>(value).unwrap();
    let rule = |action: &str, args: Value| json!({"names": ["write"], "action": action, "args": args});
    let compiled = |rules: Value| {
        Program::compile(&filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})))
            .map_err(|e| e.to_string())
    };
    let seventh = json!([{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]);
    assert_eq!(compiled(json!([rule("SCMP_ACT_LOG", seventh)])).unwrap_err(), "`write` has no argument 6");
    let notify = compiled(json!([rule("SCMP_ACT_NOTIFY", json!([]))])).unwrap_err();
    assert_eq!(notify, "SCMP_ACT_NOTIFY asks a process that decides, and there is none");
    let many: Vec<Value> =
        (0..2000).map(|n| rule("SCMP_ACT_LOG", json!([{"index": 0, "value": n, "op": "SCMP_CMP_EQ"}]))).collect();
    assert!(compiled(json!(many)).unwrap_err().contains("and the kernel no more than 4096"));

    // The machine's own architecture is meant where none is named; of two comparisons of one argument either is enough; the
    // first rule that fits decides.
    let either = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]);
    let program = compiled(json!([
        rule("SCMP_ACT_KILL", either),
        rule("SCMP_ACT_ERRNO", json!([])),
        rule("SCMP_ACT_TRAP", json!([]))
    ]));
    let program = program.unwrap().instructions;
    let own = if cfg!(target_arch = "aarch64") { (64, 0xc000_00b7) } else { (1, 0xc000_003e) };
    let answer = |first| run(&program, &Call { number: own.0, architecture: own.1, arguments: [first, 0, 0, 0, 0, 0] });
    assert_eq!([answer(0), answer(1), answer(2)], [libc::SECCOMP_RET_ERRNO | 1, 0, 0]);
}

#[test]
fn a_filter_is_short() {
    let filter = serde_json::to_value(profile().resolve("amd64", |_| false, None)).unwrap();
    let filter: LinuxSeccomp = serde_json::from_value(filter).unwrap();
    let (ours, theirs) = (Program::compile(&filter).unwrap().instructions.len(), oracle(&filter).len());
    assert!(ours * 2 < theirs, "{ours} instructions, libseccomp's {theirs}");
}
