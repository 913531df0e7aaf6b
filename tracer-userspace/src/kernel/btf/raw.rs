//! The bytes: header, types and strings.

use std::borrow::Cow;

use super::Btf;
use super::error::BtfError;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// Length of the header's oldest form, up to `str_len`.
const HEADER: usize = 24;
/// Length of the header that also tells the sizes of all kinds (`layout_off`, `layout_len`).
const HEADER_WITH_LAYOUT: usize = 32;
/// Length of the part that all types have.
pub(super) const TYPE_HEADER: usize = 12;

/// Kinds of types (`BTF_KIND_`).
pub(super) mod kind {
    pub const VOID: u32 = 0;
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// The part that all types have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    /// Its id.
    pub id: u32,
    /// Its name in the string section.
    pub name: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// Number of members, values or parameters (a function's linkage).
    pub vlen: u32,
    /// Structs: members have bit-field sizes. Enums: values are signed.
    pub kind_flag: bool,
    /// Size in bytes, or the type that it refers to.
    pub size_or_type: u32,
    /// Where what follows the common part begins, in the type section.
    pub data: usize,
}

impl Type {
    fn read(types: &[u8], at: usize, id: u32) -> Result<Self, BtfError> {
        let header = at
            .checked_add(TYPE_HEADER)
            .and_then(|end| types.get(at..end))
            .ok_or(BtfError::Truncated {
                what: "type",
                offset: at,
            })?;
        let (name, info) = (u32_at(header, 0, "type")?, u32_at(header, 4, "type")?);
        Ok(Self {
            id,
            name,
            // Kernels before the layout section left bits 16 to 23 (length) and 29 to 30 (kind)
            // zero, so the newest, widest form reads all of them.
            kind: info >> 24 & 0x7f,
            vlen: info & 0x00ff_ffff,
            kind_flag: info >> 31 == 1,
            size_or_type: u32_at(header, 8, "type")?,
            data: at + TYPE_HEADER,
        })
    }

    /// Whether it is a struct or a union.
    pub const fn is_aggregate(&self) -> bool {
        matches!(self.kind, kind::STRUCT | kind::UNION)
    }

    /// Whether it is a type that only says something about the one that it refers to.
    pub const fn is_modifier(&self) -> bool {
        matches!(
            self.kind,
            kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG
        )
    }

    const fn is_indexed(&self) -> bool {
        matches!(
            self.kind,
            kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::TYPEDEF
        )
    }
}

/// A `u32` at byte `at` of `bytes`.
pub(super) fn u32_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u32, BtfError> {
    at.checked_add(4)
        .and_then(|end| bytes.get(at..end))
        .and_then(|slice| slice.try_into().ok())
        .map(u32::from_ne_bytes)
        .ok_or(BtfError::Truncated { what, offset: at })
}

/// A section, whose place is counted from the end of the header.
fn section(
    bytes: &[u8],
    header: usize,
    at: usize,
    what: &'static str,
) -> Result<std::ops::Range<usize>, BtfError> {
    let start = header + u32_at(bytes, at, "header")? as usize;
    let end = start + u32_at(bytes, at + 4, "header")? as usize;
    bytes
        .get(start..end)
        .map(|_| start..end)
        .ok_or(BtfError::Truncated {
            what,
            offset: start,
        })
}

/// Bytes that follow a type's common part: once, and for each of its `vlen` elements.
fn sizes(kind: u32, layout: &[u8]) -> Option<(usize, usize)> {
    Some(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => (4, 0),
        kind::ARRAY => (12, 0),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => (0, 12),
        kind::ENUM | kind::FUNC_PROTO => (0, 8),
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => (0, 0),
        kind::VOID => return None,
        // Newer kernels describe their kinds: `struct btf_layout { u8 info_sz, elem_sz; u16 }`.
        newer => {
            let at = newer as usize * 4;
            let entry = layout.get(at..at + 2)?;
            (usize::from(*entry.first()?), usize::from(*entry.get(1)?))
        }
    })
}

/// FNV-1a, 32 bits.
pub(super) fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl<'a> Btf<'a> {
    pub(super) fn new(bytes: Cow<'a, [u8]>) -> Result<Self, BtfError> {
        let magic = match bytes.get(..2) {
            Some(&[a, b]) => u16::from_ne_bytes([a, b]),
            _ => {
                return Err(BtfError::Truncated {
                    what: "magic number",
                    offset: 0,
                });
            }
        };
        if magic == MAGIC.swap_bytes() {
            return Err(BtfError::ForeignByteOrder);
        }
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let version = bytes.get(2).copied().unwrap_or_default();
        if version != 1 {
            return Err(BtfError::Version(version));
        }
        let header = u32_at(&bytes, 4, "header")? as usize;
        if header < HEADER {
            return Err(BtfError::Truncated {
                what: "header",
                offset: header,
            });
        }
        let types = section(&bytes, header, 8, "type section")?;
        let strings = section(&bytes, header, 16, "string section")?;
        if bytes.get(strings.clone()).and_then(<[u8]>::last) != Some(&0) {
            return Err(BtfError::Truncated {
                what: "end of the last string",
                offset: strings.end,
            });
        }
        let layout = if header >= HEADER_WITH_LAYOUT {
            section(&bytes, header, 24, "layout section")?
        } else {
            0..0
        };
        let mut btf = Self {
            bytes,
            types,
            strings,
            offsets: Vec::new(),
            names: Vec::new(),
        };
        btf.index(layout)?;
        Ok(btf)
    }

    /// Notes where each type begins, and the names.
    fn index(&mut self, layout: std::ops::Range<usize>) -> Result<(), BtfError> {
        let layout = self.bytes.get(layout).unwrap_or_default();
        let types = self.types();
        // A type takes some 22 bytes on average, and one of six has a name that is indexed.
        let mut offsets = Vec::with_capacity(types.len() / 20);
        let mut names = Vec::with_capacity(types.len() / 120);
        offsets.push(0);
        let mut at = 0;
        while at < types.len() {
            let id = offsets.len() as u32;
            let ty = Type::read(types, at, id)?;
            let (once, each) =
                sizes(ty.kind, layout).ok_or(BtfError::UnknownKind { id, kind: ty.kind })?;
            if ty.name != 0 && ty.is_indexed() {
                names.push((hash(self.string(ty.name)?), id));
            }
            // Sections have at most 4 GiB, so the offset fits; the type before was whole.
            offsets.push(at as u32);
            at = ty.data + once + each * ty.vlen as usize;
            if at > types.len() {
                return Err(BtfError::Truncated {
                    what: "type",
                    offset: ty.data,
                });
            }
        }
        names.sort_unstable();
        self.offsets = offsets;
        self.names = names;
        Ok(())
    }

    pub(super) fn types(&self) -> &[u8] {
        self.bytes.get(self.types.clone()).unwrap_or_default()
    }

    /// A `u32` of the type section.
    pub(super) fn word(&self, at: usize) -> Result<u32, BtfError> {
        u32_at(self.types(), at, "type")
    }

    /// The string at `offset` of the string section, without its NUL.
    pub(super) fn string(&self, offset: u32) -> Result<&[u8], BtfError> {
        self.bytes
            .get(self.strings.clone())
            .and_then(|strings| strings.get(offset as usize..))
            .and_then(|rest| rest.split(|byte| *byte == 0).next())
            .ok_or(BtfError::Truncated {
                what: "string",
                offset: offset as usize,
            })
    }

    /// Whether the string at `offset` is `text`, which has no NUL.
    pub(super) fn string_is(&self, offset: u32, text: &[u8]) -> bool {
        self.bytes
            .get(self.strings.clone())
            .and_then(|strings| strings.get(offset as usize..))
            .is_some_and(|rest| rest.starts_with(text) && rest.get(text.len()) == Some(&0))
    }

    /// Type `id`; 0 is `void`.
    pub(super) fn get(&self, id: u32) -> Result<Type, BtfError> {
        if id == 0 {
            return Ok(Type {
                id: 0,
                name: 0,
                kind: kind::VOID,
                vlen: 0,
                kind_flag: false,
                size_or_type: 0,
                data: 0,
            });
        }
        let at = self.offsets.get(id as usize).ok_or(BtfError::NoType(id))?;
        Type::read(self.types(), *at as usize, id)
    }
}
