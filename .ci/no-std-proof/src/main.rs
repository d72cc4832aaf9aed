//! A program without std that links synod-model.
//!
//! A program has exactly one panic handler. This one brings its own, std brings another: if std is
//! anywhere below synod-model, the compiler stops with E0152, duplicate lang item `panic_impl`. So
//! that this builds at all is the proof, and there is nothing to run.

#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_int;
use core::panic::PanicInfo;
use core::ptr;

// A dependency that nothing names would not be linked.
use synod_model as _;

/// `alloc` wants somebody to ask for memory. That there is none is fine: nothing runs.
struct NoMemory;

// SAFETY: a null pointer is the documented answer of an allocator that has no memory; no other
// pointer is ever handed out, so none can come back.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

// memcpy and its like, which the compiler expects to find on a hosted target.
#[link(name = "c")]
unsafe extern "C" {}

/// The ready-made `alloc` names the function that unwinding asks for advice. Nothing unwinds.
// SAFETY: without std nothing else is called this, and nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// What the C start-up code calls.
// SAFETY: nothing else in this program is called `main`.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    0
}
