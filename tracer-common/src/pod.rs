//! Lets aya copy the map values.

use crate::maps::{CacheLine, CpuState, Epoch, Frozen, LastThrottle, OpenThrottle, Slot, SlotCpu};

macro_rules! pod {
    ($($ty:ty),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)`, made of integers only, without implicit padding (the asserts on
            // their sizes), so every bit pattern is a value.
            unsafe impl aya::Pod for $ty {}
        )+
    };
}

pod!(
    SlotCpu,
    Slot,
    CpuState,
    Epoch,
    CacheLine,
    OpenThrottle,
    LastThrottle,
    Frozen
);
