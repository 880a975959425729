//! `towline get -r`: whole trees, what is there already, what fails, and what is left of an attempt that ended.

mod endless;
mod existing;
mod failures;
mod hostile;
mod interruptions;
mod listing;
mod names;
mod placement;
mod power;
mod races;
mod support;
mod system_calls;
mod whole;
