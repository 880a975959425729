//! towline-testkit
