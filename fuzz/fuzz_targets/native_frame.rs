//! Runs `towline_testkit::fuzz::native_frame` on what the fuzzer finds.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| towline_testkit::fuzz::native_frame(bytes));
