//! The devices of this network namespace, as if_nameindex(3) knows them.
use std::ffi::CStr;

/// Names of the devices of the calling thread's network namespace. (`/sys/class/net` shows those of whoever mounted it.)
pub(crate) fn device_names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: no arguments; the result is checked below and freed by if_freenameindex().
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return names;
    }
    let mut entry = list;
    loop {
        // SAFETY: the array ends with an entry whose name is null, which ends this loop.
        let device = unsafe { *entry };
        if device.if_name.is_null() {
            break;
        }
        // SAFETY: a name that is not null is a C string that lives until the list is freed.
        let name = unsafe { CStr::from_ptr(device.if_name) };
        names.push(name.to_string_lossy().into_owned());
        // SAFETY: this entry was not the last one.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: `list` came from if_nameindex() and is freed once.
    unsafe { libc::if_freenameindex(list) };
    names
}
