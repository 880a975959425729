//! Logging in for its own sake.

use std::time::Duration;

use super::session::{Session, SessionError};
use crate::connect::Address;
use crate::trust::{News, Trust};

/// Connects and sees whether the server is one that may be told a secret, before anybody is asked for it.
pub async fn may_log_in(
    address: &Address,
    trust: &Trust,
    silence_max: Duration,
) -> Result<(), SessionError> {
    Session::open(address, Some(trust), None, silence_max).await?;
    Ok(trust.check_acquaintance()?)
}

/// Logs in once to check the credentials, and remembers what the server proved.
pub async fn log_in(
    address: &Address,
    trust: &Trust,
    silence_max: Duration,
) -> Result<Option<News>, SessionError> {
    Session::open(address, Some(trust), None, silence_max).await?;
    Ok(trust.note().await?)
}
