//! valvulad
fn main() {}
