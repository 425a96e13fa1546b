#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| murder_fuzz::lmtp_server::run(data));
