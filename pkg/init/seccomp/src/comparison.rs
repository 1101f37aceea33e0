//! Comparisons of a system call's arguments. Arguments have 64 bits and the kernel's BPF has 32, so each is two: high halves
//! first, and low halves where these do not decide.

use libc::{BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_K};
use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};

use crate::program::{Instruction, jump, load, statement};

/// `args` in `struct seccomp_data` (linux/seccomp.h), whose halves lie low first on each of our architectures.
const ARGUMENTS: u32 = 16;

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// Behind the comparison: it holds.
    Holds,
    /// Behind the case: it does not.
    Fails,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Do(Instruction),
    /// A comparison with a constant: how, with what, where to if so, where to if not.
    If(u32, u32, To, To),
}

/// A case: instructions that return the value when all comparisons hold, and go on behind themselves otherwise.
pub fn case(comparisons: &[LinuxSeccompArg], value: u32) -> Vec<Instruction> {
    // From the end: how far it is to behind the case is known then.
    let mut case = vec![crate::program::answer(value)];
    for comparison in comparisons.iter().rev() {
        let steps = steps(comparison);
        let whole = steps.len() + case.len();
        let resolved = steps.iter().enumerate().map(|(at, step)| {
            let distance = |to| match to {
                To::Next => 0,
                To::Holds => steps.len() - at - 1,
                To::Fails => whole - at - 1,
            };
            match *step {
                Step::Do(instruction) => instruction,
                Step::If(how, with, so, not) => jump(how, with, distance(so), distance(not)),
            }
        });
        case = resolved.chain(case.iter().copied()).collect();
    }
    case
}

fn steps(comparison: &LinuxSeccompArg) -> Vec<Step> {
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpGe, ScmpCmpGt, ScmpCmpLe, ScmpCmpLt, ScmpCmpMaskedEq, ScmpCmpNe};
    use Step::{Do, If};
    use To::{Fails, Holds, Next};
    let (high, low) = halves(comparison.value());
    let place = ARGUMENTS + 8 * u32::try_from(comparison.index()).unwrap_or(0);
    let (load_high, load_low) = (Do(load(place + 4)), Do(load(place)));
    let ordered = |how, so, not| {
        vec![load_high, If(BPF_JGT, high, so, Next), If(BPF_JEQ, high, Next, not), load_low, If(how, low, so, not)]
    };
    match comparison.op() {
        ScmpCmpEq => vec![load_high, If(BPF_JEQ, high, Next, Fails), load_low, If(BPF_JEQ, low, Holds, Fails)],
        ScmpCmpNe => vec![load_high, If(BPF_JEQ, high, Next, Holds), load_low, If(BPF_JEQ, low, Fails, Holds)],
        ScmpCmpGt => ordered(BPF_JGT, Holds, Fails),
        ScmpCmpGe => ordered(BPF_JGE, Holds, Fails),
        ScmpCmpLe => ordered(BPF_JGT, Fails, Holds),
        ScmpCmpLt => ordered(BPF_JGE, Fails, Holds),
        // `value` is the mask here, and `valueTwo` what is to be left.
        ScmpCmpMaskedEq => {
            let (high_left, low_left) = halves(comparison.value_two().unwrap_or(0));
            let mask = |half| Do(statement(BPF_ALU | BPF_AND | BPF_K, half));
            vec![
                load_high,
                mask(high),
                If(BPF_JEQ, high_left, Next, Fails),
                load_low,
                mask(low),
                If(BPF_JEQ, low_left, Holds, Fails),
            ]
        }
    }
}

/// The high and the low half.
fn halves(value: u64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "halves")]
    ((value >> 32) as u32, value as u32)
}
