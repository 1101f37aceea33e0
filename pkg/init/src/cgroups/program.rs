//! Rules for devices as a program for the kernel: BPF_PROG_TYPE_CGROUP_DEVICE (linux/bpf.h), which cgroup v2 has in place of a
//! devices controller. It is called with a `struct bpf_cgroup_dev_ctx` and answers whether the access is allowed.
//!
//! Rules are looked at from the last to the first. An allowing one takes its bits off those that are still to be decided,
//! until none is left; a denying one that has any of them ends it.

use std::fs::File;
use std::io;
use std::path::Path;

use super::devices::{ALL, Access, Nodes};
use super::sys;

/// A `struct bpf_insn`: operation, registers (the target in the lower half), offset, number.
type Instruction = [u8; 8];

/// Registers: the context, the bits to decide, the kind of device, its numbers.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const BITS: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Operations: BPF_LDX|BPF_MEM|BPF_W, BPF_ALU|…, BPF_JMP|…, each with a number but for the move between registers.
const LOAD: u8 = 0x61;
const MOVE: u8 = 0xbc;
const SET: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP: u8 = 0x05;
const JUMP_IF_NOT: u8 = 0x55;
const JUMP_IF_BIT: u8 = 0x45;
const EXIT: u8 = 0x95;

/// The kernel's numbers of the kinds of devices.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// The program, or none where everything is allowed.
pub fn compile(rules: &[Access]) -> Option<Vec<Instruction>> {
    let everything =
        |rule: &Access| rule.nodes == Nodes::Any && rule.major.is_none() && rule.minor.is_none() && rule.bits == ALL;
    // What comes before a rule about everything counts for nothing.
    let from = rules.iter().rposition(everything).unwrap_or(0);
    let rules = rules.get(from..).unwrap_or_default();
    if rules.first().is_some_and(|rule| everything(rule) && rule.allow) && rules.iter().all(|rule| rule.allow) {
        return None;
    }
    let mut program = vec![
        instruction(LOAD, BITS, CONTEXT, 0, 0),
        instruction(MOVE, KIND, BITS, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, BITS, 0, 0, 16),
        instruction(LOAD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev().filter(|rule| rule.bits != 0) {
        program.extend(one(rule));
    }
    program.extend(answer(false));
    Some(program)
}

/// What one rule says. Everything in it jumps forward, behind its end.
fn one(rule: &Access) -> Vec<Instruction> {
    let kind = match rule.nodes {
        Nodes::Any => None,
        Nodes::Block => Some(BLOCK),
        Nodes::Character => Some(CHARACTER),
    };
    let tests: Vec<(u8, i32)> = [(KIND, kind), (MAJOR, rule.major), (MINOR, rule.minor)]
        .into_iter()
        .filter_map(|(register, number)| Some((register, number?)))
        .collect();
    let bits = i32::from(rule.bits);
    let verdict = if rule.allow {
        vec![instruction(AND, BITS, 0, 0, i32::from(ALL) & !bits), instruction(JUMP_IF_NOT, BITS, 0, 2, 0)]
    } else {
        // There is no jump for "has none of these bits": over the jump to the end.
        vec![instruction(JUMP_IF_BIT, BITS, 0, 1, bits), instruction(JUMP, 0, 0, 2, 0)]
    };
    let behind = tests.len() + verdict.len() + 2;
    let mut all: Vec<Instruction> = tests
        .into_iter()
        .enumerate()
        .map(|(at, (register, number))| {
            let over = i16::try_from(behind - at - 1).unwrap_or(i16::MAX);
            instruction(JUMP_IF_NOT, register, 0, over, number)
        })
        .collect();
    all.extend(verdict);
    all.extend(answer(rule.allow));
    all
}

fn answer(allow: bool) -> [Instruction; 2] {
    [instruction(SET, ANSWER, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

fn instruction(operation: u8, target: u8, source: u8, offset: i16, number: i32) -> Instruction {
    let [o0, o1] = offset.to_ne_bytes();
    let [n0, n1, n2, n3] = number.to_ne_bytes();
    // Bit fields: their order follows that of the bytes.
    let registers = if cfg!(target_endian = "little") { source << 4 | target } else { target << 4 | source };
    [operation, registers, o0, o1, n0, n1, n2, n3]
}

/// Attaches a program to a cgroup. A kernel that knows no such programs is no error: that has been said at boot.
pub fn attach(program: &[Instruction], cgroup: &Path) -> io::Result<()> {
    let loaded = match sys::load_device_program(program) {
        Err(_) if !is_supported() => return Ok(()),
        other => other?,
    };
    sys::attach_device_program(loaded, File::open(cgroup)?)
}

/// Whether the kernel takes such programs, which is found out with the shortest one.
pub fn is_supported() -> bool {
    sys::load_device_program(&answer(true)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::devices::{MKNOD, READ, WRITE, with_usual};
    use super::*;

    const DENY_ALL: Access = Access { allow: false, nodes: Nodes::Any, major: None, minor: None, bits: ALL };

    fn rule(allow: bool, nodes: Nodes, major: Option<i32>, minor: Option<i32>, bits: u8) -> Access {
        Access { allow, nodes, major, minor, bits }
    }

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], kind: i32, major: i32, minor: i32, bits: u8) -> bool {
        let context = [i32::from(bits) << 16 | kind, major, minor];
        let mut registers = [0i64; 6];
        let mut at = 0usize;
        loop {
            let [operation, pair, o0, o1, number @ ..] = program[at];
            let (target, source) = (usize::from(pair & 15), usize::from(pair >> 4));
            let offset = usize::try_from(i16::from_ne_bytes([o0, o1])).unwrap();
            let number = i32::from_ne_bytes(number);
            at += 1;
            match operation {
                LOAD => registers[target] = i64::from(context[offset / 4]),
                MOVE => registers[target] = registers[source],
                SET => registers[target] = i64::from(number),
                AND => registers[target] &= i64::from(number),
                SHIFT_RIGHT => registers[target] >>= number,
                JUMP => at += offset,
                JUMP_IF_NOT if registers[target] != i64::from(number) => at += offset,
                JUMP_IF_BIT if registers[target] & i64::from(number) != 0 => at += offset,
                JUMP_IF_NOT | JUMP_IF_BIT => {}
                other => {
                    assert_eq!(other, EXIT);
                    return registers[0] != 0;
                }
            }
        }
    }

    /// What the rules say, bit by bit.
    fn expected(rules: &[Access], kind: i32, major: i32, minor: i32, bits: u8) -> bool {
        [READ, WRITE, MKNOD].into_iter().filter(|bit| bits & bit != 0).all(|bit| {
            let names = |rule: &&Access| {
                let nodes = match rule.nodes {
                    Nodes::Any => true,
                    Nodes::Block => kind == BLOCK,
                    Nodes::Character => kind == CHARACTER,
                };
                let number = |wanted: Option<i32>, is| wanted.is_none_or(|n| n == is);
                nodes && number(rule.major, major) && number(rule.minor, minor) && rule.bits & bit != 0
            };
            rules.iter().rev().find(names).is_some_and(|rule| rule.allow)
        })
    }

    #[test]
    fn a_program_decides_as_its_rules_do() {
        let any = |allow, bits| rule(allow, Nodes::Any, None, None, bits);
        let cases: [Vec<Access>; 8] = [
            vec![],
            vec![DENY_ALL],
            with_usual(Vec::new()),
            // Reading by one rule and writing by another: both together are allowed.
            vec![any(true, READ), rule(true, Nodes::Block, Some(8), None, WRITE)],
            vec![any(true, ALL), rule(false, Nodes::Block, Some(8), Some(1), WRITE)],
            vec![
                rule(true, Nodes::Block, Some(8), Some(1), ALL),
                DENY_ALL,
                rule(true, Nodes::Character, None, Some(3), READ),
            ],
            vec![rule(true, Nodes::Character, Some(1), None, ALL), rule(false, Nodes::Any, None, Some(3), MKNOD)],
            vec![any(true, 0), any(true, MKNOD)],
        ];
        for rules in &cases {
            let program = compile(rules).unwrap();
            for kind in [BLOCK, CHARACTER] {
                for major in [1, 5, 8, 136, 253] {
                    for minor in [0, 1, 3, 4] {
                        for bits in 1..=ALL {
                            let is = run(&program, kind, major, minor, bits);
                            let should = expected(rules, kind, major, minor, bits);
                            assert_eq!(is, should, "{rules:?}: {kind} {major}:{minor} {bits}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_enforced_where_everything_is_allowed() {
        let all = Access { allow: true, ..DENY_ALL };
        assert_eq!(compile(&[DENY_ALL, all, rule(true, Nodes::Block, Some(8), None, READ)]), None);
        assert!(compile(&[all, rule(false, Nodes::Block, Some(8), None, READ)]).is_some());
    }
}
