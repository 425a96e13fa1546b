#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| murder_fuzz::mupdate_line::run(data));
