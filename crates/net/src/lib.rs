//! towline-net
