#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| murder_fuzz::sasl_plain::run(data));
