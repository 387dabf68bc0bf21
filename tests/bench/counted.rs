//! `vicar`, with an allocator that counts: what a request costs in allocations, for `tests/bench/run`.
//!
//! Takes the words that `vicar` takes. The file that the variable COUNTED_TO names is kept at the number of allocations so
//! far, eight bytes, little-endian.

#![allow(clippy::expect_used)]

use std::{
    alloc::{GlobalAlloc, Layout},
    fs::File,
    os::unix::fs::FileExt as _,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes on to mimalloc as it came, which keeps the trait's contract; counting allocates nothing and
// cannot panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's layout.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's block, which came from mimalloc.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's layout.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's block, which came from mimalloc, and size.
        unsafe { MiMalloc.realloc(block, layout, size) }
    }
}

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os("COUNTED_TO") {
        let file = File::create(path).expect("the file of COUNTED_TO");
        std::thread::spawn(move || {
            while file.write_all_at(&ALLOCATIONS.load(Ordering::Relaxed).to_le_bytes(), 0).is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }
    vicar::cli::run()
}
