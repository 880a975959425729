//! Runs the client's `journal` body on what the fuzzer finds.
#![no_main]
#[path = "../../crates/client/tests/client/journal_body.rs"]
mod body;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::journal(bytes));
