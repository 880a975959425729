//! What the kernel knows about a connection (tcp(7), `TCP_INFO`). No safe wrapper of this call is to be had: here is
//! the one `unsafe` block of the project.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// Asks the kernel about a connected TCP socket.
#[expect(unsafe_code, reason = "a system call that fills a structure, which no library wraps")]
pub(super) fn tcp_info(socket: &impl AsFd) -> io::Result<libc::tcp_info> {
    let descriptor = socket.as_fd().as_raw_fd();
    let mut information = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the descriptor is open while `socket` is borrowed. The pointer is valid for writes of `length` bytes,
    // and the kernel writes no more. The structure has integers alone, so that the zeros which are there where the
    // kernel writes less, and whatever it writes, are valid values.
    let (result, information) = unsafe {
        let result = libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            information.as_mut_ptr().cast(),
            &raw mut length,
        );
        (result, information.assume_init())
    };
    if result == 0 { Ok(information) } else { Err(io::Error::last_os_error()) }
}
