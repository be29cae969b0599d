#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| valvula_fuzz::tables(data));
