//! Memory of the simulator's program, which asks for the same small pieces millions of times.
//!
//! Think of a tray for each size, one set to each thread: what is freed is laid on its tray, and taken from there when
//! that size is asked for again. Nothing is given back before the program ends, and a tray never holds more than was in
//! use at one time. Large pieces are the system's.

#![expect(
    unsafe_code,
    reason = "memory is given out through a trait that cannot be implemented otherwise"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// Sizes are rounded up to a multiple of this, which is also how pieces are aligned.
const STEP: usize = 16;
/// Larger ones than this many steps are the system's.
const TRAYS: usize = 64;

thread_local! {
    /// The piece that was laid on each tray last; the one before it is named in its first bytes.
    static LAID: [Cell<*mut u8>; TRAYS] = const { [const { Cell::new(ptr::null_mut()) }; TRAYS] };
}

#[derive(Debug)]
pub struct Heap;

/// The tray of a piece, if it has one.
fn tray(layout: Layout) -> Option<usize> {
    let tray = layout.size().checked_sub(1)? / STEP;
    (tray < TRAYS && layout.align() <= STEP).then_some(tray)
}

// SAFETY: a piece comes from the system, with the size of its tray, or from its tray, where it was laid by its owner and
// is taken off before it is given out. It is at least as large and aligned as asked for, because the tray follows from
// the layout, which is the same when the piece is freed.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(tray) = tray(layout) else {
            // SAFETY: as the caller promised.
            return unsafe { System.alloc(layout) };
        };
        let piece = LAID.with(|laid| laid[tray].get());
        if piece.is_null() {
            // SAFETY: neither size nor alignment is zero, and both are small.
            return unsafe {
                System.alloc(Layout::from_size_align_unchecked((tray + 1) * STEP, STEP))
            };
        }
        // SAFETY: whoever laid it there wrote a pointer into it, for which it is large and aligned enough.
        let before = unsafe { piece.cast::<*mut u8>().read() };
        LAID.with(|laid| laid[tray].set(before));
        piece
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(tray) = tray(layout) else {
            // SAFETY: as the caller promised; without a tray it came from there.
            unsafe { System.dealloc(piece, layout) };
            return;
        };
        LAID.with(|laid| {
            // SAFETY: nobody else has it any more, and a pointer fits into the smallest one.
            unsafe { piece.cast::<*mut u8>().write(laid[tray].get()) };
            laid[tray].set(piece);
        });
    }
}
