//! towline-server
