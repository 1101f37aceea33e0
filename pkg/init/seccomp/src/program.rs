//! Programs for the kernel's classic BPF (Documentation/networking/filter.rst), in the part that seccomp takes.
//!
//! Jumps lead forward only, a conditional one over at most 255 instructions. Each piece that is made here ends with an answer,
//! so that nothing has to lead out of it.

use std::collections::BTreeMap;

use libc::{BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};

use crate::comparison::case;
use crate::rules::Answer;

/// An instruction.
pub type Instruction = libc::sock_filter;

/// `nr` and `arch` in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// An instruction that is no jump.
pub fn statement(code: u32, operand: u32) -> Instruction {
    #[expect(clippy::cast_possible_truncation, reason = "opcodes have eight bits")]
    Instruction { code: code as u16, jt: 0, jf: 0, k: operand }
}

/// Loads a word of what is known of a system call.
pub fn load(place: u32) -> Instruction {
    statement(BPF_LD | BPF_W | BPF_ABS, place)
}

/// Ends the program.
pub fn answer(value: u32) -> Instruction {
    statement(BPF_RET | BPF_K, value)
}

/// Compares what is loaded, and goes on so many instructions further if it is so, or if not: 255 at most.
pub fn jump(how: u32, with: u32, so: usize, not: usize) -> Instruction {
    let short = |distance| u8::try_from(distance).unwrap_or(u8::MAX);
    Instruction { jt: short(so), jf: short(not), ..statement(BPF_JMP | how | BPF_K, with) }
}

/// Goes on behind a piece.
fn over(piece: &[Instruction]) -> Instruction {
    statement(BPF_JMP | BPF_JA, u32::try_from(piece.len()).unwrap_or(u32::MAX))
}

/// The program for architectures, each with its piece. Another one than these is killed.
pub fn whole(pieces: impl DoubleEndedIterator<Item = (u32, Vec<Instruction>)>) -> Vec<Instruction> {
    let mut program = vec![answer(libc::SECCOMP_RET_KILL_PROCESS)];
    for (architecture, piece) in pieces.rev() {
        let piece = [&[load(NUMBER)], &piece[..]].concat();
        program = [&[jump(BPF_JEQ, architecture, 1, 0), over(&piece)], &piece[..], &program].concat();
    }
    [&[load(ARCHITECTURE)], &program[..]].concat()
}

/// Finds the range in which the number lies that is loaded, by halves.
pub fn search(ranges: &[(u32, Answer)]) -> Vec<Instruction> {
    let mut made = Backwards::default();
    let entry = made.tree(ranges);
    if entry + 1 != made.code.len() {
        made.go_on_at(entry);
    }
    made.code.reverse();
    made.code
}

/// Instructions from the last to the first: where a jump leads to is there before the jump.
#[derive(Debug, Default)]
struct Backwards {
    code: Vec<Instruction>,
    /// By what is returned: where that is done.
    answers: BTreeMap<u32, usize>,
}

impl Backwards {
    /// Makes what decides about a number in one of the ranges. Where it begins.
    fn tree(&mut self, ranges: &[(u32, Answer)]) -> usize {
        let (left, right) = ranges.split_at(ranges.len() / 2);
        let [(first, one), ..] = right else { return self.answer(libc::SECCOMP_RET_KILL_PROCESS) };
        if left.is_empty() {
            return self.decide(one);
        }
        let (so, not) = (self.tree(right), self.tree(left));
        let (so, not) = (self.near(so), self.near(not));
        self.put(jump(BPF_JGE, *first, self.distance(so), self.distance(not)))
    }

    fn decide(&mut self, wanted: &Answer) -> usize {
        if wanted.cases.is_empty() {
            return self.answer(wanted.otherwise);
        }
        let cases = wanted.cases.iter().flat_map(|(comparisons, value)| case(comparisons, *value));
        let forwards: Vec<Instruction> = cases.chain([answer(wanted.otherwise)]).collect();
        self.code.extend(forwards.iter().rev());
        self.code.len() - 1
    }

    fn answer(&mut self, value: u32) -> usize {
        match self.answers.get(&value) {
            Some(&at) if self.is_near(at) => at,
            _ => {
                let at = self.put(answer(value));
                self.answers.insert(value, at);
                at
            }
        }
    }

    fn put(&mut self, instruction: Instruction) -> usize {
        self.code.push(instruction);
        self.code.len() - 1
    }

    /// How many instructions lie between the next one to be put and that place.
    fn distance(&self, at: usize) -> usize {
        self.code.len() - at - 1
    }

    /// Whether a conditional jump reaches it, though two instructions be put in between.
    fn is_near(&self, at: usize) -> bool {
        u8::try_from(self.distance(at) + 2).is_ok()
    }

    /// The place, or one from where to go on there.
    fn near(&mut self, at: usize) -> usize {
        if self.is_near(at) { at } else { self.go_on_at(at) }
    }

    fn go_on_at(&mut self, at: usize) -> usize {
        let far = u32::try_from(self.distance(at)).unwrap_or(u32::MAX);
        self.put(statement(BPF_JMP | BPF_JA, far))
    }
}
