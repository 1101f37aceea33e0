//! The least that a boot can end in: says one line on the console and stands still. What a machine's init is compared with.
//! Compiled by the bench with rustc for musl; it depends on nothing.

fn main() {
    println!("bare init runs");
    loop {
        std::thread::park();
    }
}
