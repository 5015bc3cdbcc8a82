//! Asks memory for what is about to be used, without waiting for it.
//!
//! A report touches some thirty cache lines of its entity's state. Asked for a few records ahead, they come while others are at
//! work; a plain read would hold the core up for each.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "the standard library has no prefetch"))]

/// Bytes of a cache line: on every processor that Merit is built for, 64.
const LINE: usize = 64;

/// Asks for the cache line of an address, which need not be a valid one. Where the processor is of another make it does nothing.
#[inline]
pub fn line<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing that the program could see and never faults; every x86-64 has SSE.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for every cache line of a value.
#[inline]
pub fn value<T: ?Sized>(value: &T) {
    let first = core::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of_val(value)).step_by(LINE) {
        line(first.wrapping_add(offset));
    }
    line(first.wrapping_add(size_of_val(value).saturating_sub(1)));
}
