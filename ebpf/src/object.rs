//! What every object of kernel programs has: a licence, and a panic handler that nothing calls.

/// Helpers marked GPL-only are open to a program of this licence; the source is Apache-2.0 OR GPL-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// No path leads here: the verifier would refuse the program.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
