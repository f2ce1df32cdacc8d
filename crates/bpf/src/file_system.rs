//! Which file system a path lies on (statfs(2)).
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether a path lies on a BPF file system.
pub(crate) fn is_bpf(path: &Path) -> io::Result<bool> {
    Ok(magic(path)? == libc::BPF_FS_MAGIC)
}

/// Whether a path lies on a cgroup2 file system.
pub(crate) fn is_cgroup2(path: &Path) -> io::Result<bool> {
    Ok(magic(path)? == libc::CGROUP2_SUPER_MAGIC)
}

fn magic(path: &Path) -> io::Result<libc::c_long> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `path` is a C string, `stat` has room for the answer.
    if unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed above, and filled by the kernel.
    Ok(unsafe { stat.assume_init() }.f_type)
}
