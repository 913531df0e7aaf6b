//! The BPF object that is built into the binary.

/// Bytes of the object, aligned as an ELF file needs it. Empty in a debug build that had none.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/limitscope.bpf.o"));

/// The object in the binary; `None` where the binary was built without one.
pub fn embedded() -> Option<&'static [u8]> {
    (!OBJECT.is_empty()).then_some(OBJECT)
}
