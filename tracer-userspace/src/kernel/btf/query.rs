//! Questions about types.

use super::Btf;
use super::error::BtfError;
use super::raw::{Type, hash, kind};

/// Longest chain of modifiers, typedefs and arrays; real ones have fewer than ten.
const MAX_CHAIN: u32 = 64;
/// Deepest nest of anonymous structs and unions; real ones have fewer than ten.
const MAX_NESTING: u32 = 32;
/// Most members that one question looks at; the largest struct has some hundreds.
const MAX_MEMBERS: u32 = 1 << 20;
/// Size of a pointer in bytes: the programs are for 64-bit kernels alone.
const POINTER: u32 = 8;

/// A type of one [`Btf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

/// Where a member lies in its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the struct's start, rounded down for bit-fields.
    pub byte_offset: u32,
    /// Bits from the struct's start.
    pub bit_offset: u32,
    /// Width in bits, for bit-fields only.
    pub bit_size: Option<u32>,
    /// Size of its type in bytes; 0 for a flexible array.
    pub size_bytes: u32,
    /// Its type.
    pub type_id: TypeId,
}

/// A member as its struct says it, before its type was looked at.
struct Found {
    bits: u64,
    type_id: u32,
    bit_size: Option<u32>,
}

impl Btf<'_> {
    /// Where `path` (names with dots between) lies in the struct or union `structure`. Anonymous
    /// structs and unions are looked through.
    pub fn member(&self, structure: &str, path: &str) -> Result<Member, BtfError> {
        let mut absence = BtfError::NotFound {
            kind: "struct",
            name: structure.to_owned(),
        };
        // Several structs can share a name; the first that has the member is meant.
        for id in self.named(structure, &[kind::STRUCT, kind::UNION]) {
            match self.member_of(id, path) {
                Ok(member) => return Ok(member),
                Err(BtfError::NoMember { member, .. }) => {
                    absence = BtfError::NoMember {
                        parent: structure.to_owned(),
                        member,
                    };
                }
                Err(error) => return Err(error),
            }
        }
        Err(absence)
    }

    /// Size of the struct or union `structure` in bytes.
    pub fn size_of(&self, structure: &str) -> Result<u32, BtfError> {
        self.first(structure, &[kind::STRUCT, kind::UNION], "struct")
            .map(|ty| ty.size_or_type)
    }

    /// Value of `name` in the enum `enumeration`. Unsigned values above `i64::MAX` wrap.
    pub fn enum_value(&self, enumeration: &str, name: &str) -> Result<i64, BtfError> {
        let mut absence = BtfError::NotFound {
            kind: "enum",
            name: enumeration.to_owned(),
        };
        for id in self.named(enumeration, &[kind::ENUM, kind::ENUM64]) {
            if let Some(value) = self.value_in(&self.get(id)?, name)? {
                return Ok(value);
            }
            absence = BtfError::NoMember {
                parent: enumeration.to_owned(),
                member: name.to_owned(),
            };
        }
        Err(absence)
    }

    /// Whether there is a function `name`: it exists as such, inlined copies do not count.
    pub fn func_exists(&self, name: &str) -> bool {
        self.func(name).is_some()
    }

    /// Type id of the function `name`, as `bpf(2)` takes it to attach a program.
    pub fn func_id(&self, name: &str) -> Option<u32> {
        self.func(name).map(|ty| ty.id)
    }

    /// Parameters of the function `name`, in order.
    pub fn func_params(&self, name: &str) -> Result<Vec<TypeId>, BtfError> {
        let func = self.func(name).ok_or_else(|| BtfError::NotFound {
            kind: "function",
            name: name.to_owned(),
        })?;
        self.params_of(func.size_or_type)
    }

    /// Type id of the typedef that stands for the tracepoint `name`, as `bpf(2)` takes it to attach
    /// a program.
    pub fn tracepoint_id(&self, name: &str) -> Option<u32> {
        let typedef = self.first(&format!("btf_trace_{name}"), &[kind::TYPEDEF], "tracepoint");
        typedef.ok().map(|ty| ty.id)
    }

    /// Arguments that the tracepoint `name` gives to a program (`tp_btf`): the parameters of
    /// `btf_trace_<name>` after the first, which is the tracepoint's own data
    /// (`include/trace/bpf_probe.h`).
    pub fn tracepoint_args(&self, name: &str) -> Result<Vec<TypeId>, BtfError> {
        let typedef = self
            .first(&format!("btf_trace_{name}"), &[kind::TYPEDEF], "tracepoint")
            .map_err(|error| match error {
                BtfError::NotFound { kind, .. } => BtfError::NotFound {
                    kind,
                    name: name.to_owned(),
                },
                other => other,
            })?;
        let pointer = self.strip(typedef.id)?;
        if pointer.kind != kind::PTR {
            return Err(BtfError::WrongKind {
                id: pointer.id,
                wanted: "pointer to a function",
            });
        }
        let mut params = self.params_of(pointer.size_or_type)?;
        if !params.is_empty() {
            params.remove(0);
        }
        Ok(params)
    }

    /// Whether `type_id` is a pointer to the struct or union `structure`.
    pub fn points_to(&self, type_id: TypeId, structure: &str) -> Result<bool, BtfError> {
        let pointer = self.strip(type_id.0)?;
        if pointer.kind != kind::PTR {
            return Ok(false);
        }
        self.is_struct(TypeId(pointer.size_or_type), structure)
    }

    /// Whether `type_id` is the struct or union `structure`.
    pub fn is_struct(&self, type_id: TypeId, structure: &str) -> Result<bool, BtfError> {
        let ty = self.strip(type_id.0)?;
        Ok((ty.is_aggregate() || ty.kind == kind::FWD)
            && self.string(ty.name)? == structure.as_bytes())
    }

    /// Type of the elements, where `type_id` is an array.
    pub fn element(&self, type_id: TypeId) -> Result<Option<TypeId>, BtfError> {
        let ty = self.strip(type_id.0)?;
        if ty.kind != kind::ARRAY {
            return Ok(None);
        }
        self.word(ty.data).map(|element| Some(TypeId(element)))
    }

    /// Size of a type in bytes.
    pub fn size_of_type(&self, type_id: TypeId) -> Result<u32, BtfError> {
        let TypeId(start) = type_id;
        let mut id = start;
        let mut count = 1u32;
        for _ in 0..MAX_CHAIN {
            let ty = self.get(id)?;
            let size = match ty.kind {
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::ENUM64
                | kind::FLOAT
                | kind::DATASEC => ty.size_or_type,
                kind::PTR => POINTER,
                kind::ARRAY => {
                    // struct btf_array { type, index_type, nelems }
                    id = self.word(ty.data)?;
                    count = count
                        .checked_mul(self.word(ty.data + 8)?)
                        .ok_or(BtfError::TooLarge(start))?;
                    continue;
                }
                kind::VAR => {
                    id = ty.size_or_type;
                    continue;
                }
                _ if ty.is_modifier() => {
                    id = ty.size_or_type;
                    continue;
                }
                _ => {
                    return Err(BtfError::WrongKind {
                        id,
                        wanted: "type with a size",
                    });
                }
            };
            return size.checked_mul(count).ok_or(BtfError::TooLarge(start));
        }
        Err(BtfError::TooDeep(start))
    }

    /// The function `name`.
    fn func(&self, name: &str) -> Option<Type> {
        (1..=self.len() as u32)
            .filter_map(|id| self.get(id).ok())
            .find(|ty| ty.kind == kind::FUNC && self.is_called(ty, name))
    }

    fn is_called(&self, ty: &Type, name: &str) -> bool {
        self.string_is(ty.name, name.as_bytes())
    }

    /// Ids of the types called `name` that are of one of `kinds`, lowest first; functions are not
    /// indexed ([`Self::func`]).
    fn named<'b>(&'b self, name: &'b str, kinds: &'b [u32]) -> impl Iterator<Item = u32> + 'b {
        let wanted = hash(name.as_bytes());
        let start = self.names.partition_point(|(hash, _)| *hash < wanted);
        self.names
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(move |(hash, _)| *hash == wanted)
            .map(|(_, id)| *id)
            .filter(move |id| {
                self.get(*id)
                    .is_ok_and(|ty| kinds.contains(&ty.kind) && self.is_called(&ty, name))
            })
    }

    fn first(&self, name: &str, kinds: &[u32], what: &'static str) -> Result<Type, BtfError> {
        let id = self
            .named(name, kinds)
            .next()
            .ok_or_else(|| BtfError::NotFound {
                kind: what,
                name: name.to_owned(),
            })?;
        self.get(id)
    }

    /// The type behind typedefs and modifiers.
    fn strip(&self, start: u32) -> Result<Type, BtfError> {
        let mut ty = self.get(start)?;
        for _ in 0..MAX_CHAIN {
            if !ty.is_modifier() {
                return Ok(ty);
            }
            ty = self.get(ty.size_or_type)?;
        }
        Err(BtfError::TooDeep(start))
    }

    fn params_of(&self, proto: u32) -> Result<Vec<TypeId>, BtfError> {
        let proto = self.strip(proto)?;
        if proto.kind != kind::FUNC_PROTO {
            return Err(BtfError::WrongKind {
                id: proto.id,
                wanted: "function prototype",
            });
        }
        // struct btf_param { name_off, type }
        (0..proto.vlen as usize)
            .map(|index| self.word(proto.data + index * 8 + 4).map(TypeId))
            .collect()
    }

    fn value_in(&self, ty: &Type, name: &str) -> Result<Option<i64>, BtfError> {
        // struct btf_enum { name_off, val }; struct btf_enum64 { name_off, val_lo32, val_hi32 }
        let step = if ty.kind == kind::ENUM64 { 12 } else { 8 };
        for index in 0..ty.vlen as usize {
            let at = ty.data + index * step;
            if self.string(self.word(at)?)? != name.as_bytes() {
                continue;
            }
            let low = self.word(at + 4)?;
            return Ok(Some(if ty.kind == kind::ENUM64 {
                (u64::from(self.word(at + 8)?) << 32 | u64::from(low)) as i64
            } else if ty.kind_flag {
                i64::from(low as i32)
            } else {
                i64::from(low)
            }));
        }
        Ok(None)
    }

    fn member_of(&self, structure: u32, path: &str) -> Result<Member, BtfError> {
        let mut budget = MAX_MEMBERS;
        let mut parent = self.get(structure)?;
        let mut bits = 0u64;
        let mut last = None;
        for part in path.split('.') {
            if !parent.is_aggregate() {
                return Err(BtfError::WrongKind {
                    id: parent.id,
                    wanted: "struct",
                });
            }
            let found = self
                .find(&parent, part.as_bytes(), MAX_NESTING, &mut budget)?
                .ok_or_else(|| BtfError::NoMember {
                    parent: String::new(),
                    member: path.to_owned(),
                })?;
            bits += found.bits;
            parent = self.strip(found.type_id)?;
            last = Some(found);
        }
        let Some(found) = last else {
            return Err(BtfError::NoMember {
                parent: String::new(),
                member: path.to_owned(),
            });
        };
        let bit_offset = u32::try_from(bits).map_err(|_| BtfError::TooLarge(structure))?;
        Ok(Member {
            byte_offset: bit_offset / 8,
            bit_offset,
            bit_size: found.bit_size,
            size_bytes: self.size_of_type(TypeId(found.type_id))?,
            type_id: TypeId(found.type_id),
        })
    }

    /// Looks for `name` in `parent` and in its anonymous structs and unions.
    fn find(
        &self,
        parent: &Type,
        name: &[u8],
        nesting: u32,
        budget: &mut u32,
    ) -> Result<Option<Found>, BtfError> {
        let Some(nesting) = nesting.checked_sub(1) else {
            return Err(BtfError::TooDeep(parent.id));
        };
        // struct btf_member { name_off, type, offset }
        for index in 0..parent.vlen as usize {
            *budget = budget.checked_sub(1).ok_or(BtfError::TooDeep(parent.id))?;
            let at = parent.data + index * 12;
            let member_name = self.word(at)?;
            let type_id = self.word(at + 4)?;
            let offset = self.word(at + 8)?;
            let member_name = self.string(member_name)?;
            // An anonymous member has no name to be found by.
            if member_name == name && !name.is_empty() {
                return self.found(parent, type_id, offset).map(Some);
            }
            if !member_name.is_empty() {
                continue;
            }
            let inner = self.strip(type_id)?;
            if inner.is_aggregate()
                && let Some(mut found) = self.find(&inner, name, nesting, budget)?
            {
                found.bits += self.found(parent, type_id, offset)?.bits;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Takes a member's offset apart.
    fn found(&self, parent: &Type, type_id: u32, offset: u32) -> Result<Found, BtfError> {
        if parent.kind_flag {
            let size = offset >> 24;
            return Ok(Found {
                bits: u64::from(offset & 0x00ff_ffff),
                type_id,
                bit_size: (size != 0).then_some(size),
            });
        }
        let mut found = Found {
            bits: u64::from(offset),
            type_id,
            bit_size: None,
        };
        // Without the flag a bit-field is an integer that is narrower than its size.
        let ty = self.strip(type_id)?;
        if ty.kind == kind::INT {
            let encoding = self.word(ty.data)?;
            let width = encoding & 0xff;
            let shift = encoding >> 16 & 0xff;
            if u64::from(width) != u64::from(ty.size_or_type) * 8 {
                found.bits += u64::from(shift);
                found.bit_size = Some(width);
            }
        }
        Ok(found)
    }
}
