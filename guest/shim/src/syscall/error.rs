//! Error numbers of Linux that the shim itself gives.

/// An error number, positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) u16);

pub(crate) const EPERM: Errno = Errno(1);
pub(crate) const EBADF: Errno = Errno(9);
pub(crate) const EAGAIN: Errno = Errno(11);
pub(crate) const ENOMEM: Errno = Errno(12);
pub(crate) const EFAULT: Errno = Errno(14);
pub(crate) const EEXIST: Errno = Errno(17);
pub(crate) const EINVAL: Errno = Errno(22);
pub(crate) const EMFILE: Errno = Errno(24);
pub(crate) const ENOTTY: Errno = Errno(25);
pub(crate) const ENOSPC: Errno = Errno(28);
pub(crate) const ENOENT: Errno = Errno(2);
pub(crate) const ENOSYS: Errno = Errno(38);
pub(crate) const ESPIPE: Errno = Errno(29);
pub(crate) const ENOTSOCK: Errno = Errno(88);
pub(crate) const EMSGSIZE: Errno = Errno(90);
pub(crate) const ENOPROTOOPT: Errno = Errno(92);
pub(crate) const ETIMEDOUT: Errno = Errno(110);
