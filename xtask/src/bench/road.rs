//! What lies between servers and clients: the loopback of this machine, or a long link.

#[cfg(target_os = "linux")]
use std::sync::Arc;

use std::net::Ipv4Addr;
use std::process::Command;

#[cfg(target_os = "linux")]
use towline_testkit::link::Link;

/// Where programs run, and by which address clients reach servers.
#[derive(Clone)]
pub(super) enum Road {
    /// Both in the network of this machine.
    Loopback,
    /// Servers at its far end, clients at its near one.
    #[cfg(target_os = "linux")]
    Link(Arc<Link>),
}

impl Road {
    /// Where servers listen.
    pub(super) fn address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            #[cfg(target_os = "linux")]
            Self::Link(link) => link.far().address(),
        }
    }

    /// A command that runs `program` where servers run.
    pub(super) fn at_server(&self, program: &str) -> Command {
        match self {
            Self::Loopback => Command::new(program),
            #[cfg(target_os = "linux")]
            Self::Link(link) => link.far().command(program),
        }
    }

    /// A command that runs `program` where clients run.
    pub(super) fn at_client(&self, program: &str) -> Command {
        match self {
            Self::Loopback => Command::new(program),
            #[cfg(target_os = "linux")]
            Self::Link(link) => link.near().command(program),
        }
    }
}
