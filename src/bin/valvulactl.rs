//! valvulactl
fn main() {}
