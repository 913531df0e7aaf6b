//! What the code of a function of x86-64 does with variables: which addresses it reads, exchanges, and
//! hands to other functions. Nothing is run; each statement is about some way through the function.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess,
    Register,
};

/// What one function does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Variables of 4 bytes that it reads.
    pub reads: BTreeSet<u64>,
    /// Those that it reads as a number with a sign and makes one of 8 bytes.
    pub reads_signed: BTreeSet<u64>,
    /// Variables of 8 bytes that it reads.
    pub reads_wide: BTreeSet<u64>,
    /// Variables of 4 bytes that it replaces in one step, as Go's `atomic.Store` does.
    pub exchanges: BTreeSet<u64>,
    /// A function that it calls, and the address that this is handed first.
    pub hands: BTreeSet<(u64, u64)>,
}

/// Reads the code of a function that is at `address`; `None` where it is no code.
pub fn uses(code: &[u8], address: u64) -> Option<Uses> {
    let mut uses = Uses::default();
    let mut factory = InstructionInfoFactory::new();
    // Registers that hold the address of a variable.
    let mut held: BTreeMap<Register, u64> = BTreeMap::new();
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return None;
        }
        note(&mut uses, &held, &instruction);
        if instruction.flow_control() != FlowControl::Next {
            held.clear();
            continue;
        }
        for used in factory.info(&instruction).used_registers() {
            let is_read = matches!(used.access(), OpAccess::Read | OpAccess::CondRead);
            if !is_read {
                held.remove(&used.register().full_register());
            }
        }
        if instruction.code() == Code::Lea_r64_m && instruction.is_ip_rel_memory_operand() {
            held.insert(
                instruction.op0_register(),
                instruction.ip_rel_memory_address(),
            );
        }
    }
    Some(uses)
}

fn note(uses: &mut Uses, held: &BTreeMap<Register, u64>, instruction: &Instruction) {
    if instruction.segment_prefix() != Register::None {
        return;
    }
    let variable = if instruction.is_ip_rel_memory_operand() {
        Some(instruction.ip_rel_memory_address())
    } else {
        let plain = instruction.memory_index() == Register::None
            && instruction.memory_displacement64() == 0;
        let base = held.get(&instruction.memory_base());
        base.copied().filter(|_| plain)
    };
    match (instruction.code(), variable) {
        (Code::Mov_r32_rm32, Some(variable)) => uses.reads.insert(variable),
        (Code::Movsxd_r64_rm32, Some(variable)) => uses.reads_signed.insert(variable),
        (Code::Mov_r64_rm64, Some(variable)) => uses.reads_wide.insert(variable),
        (Code::Xchg_rm32_r32, Some(variable)) => uses.exchanges.insert(variable),
        (Code::Call_rel32_64, _) => held.get(&Register::RAX).is_some_and(|handed| {
            // Go's calling convention: the first argument is in RAX (cmd/compile/abi-internal.md).
            let callee = instruction.near_branch_target();
            uses.hands.insert((callee, *handed))
        }),
        _ => false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At 0x1000; what is named is 0x100 behind the end of the instruction that names it.
    fn of(code: &[&[u8]]) -> Option<Uses> {
        uses(&code.concat(), 0x1000)
    }

    const LEA_RSI: &[u8] = &[0x48, 0x8d, 0x35, 0, 1, 0, 0];
    const LEA_RAX: &[u8] = &[0x48, 0x8d, 0x05, 0, 1, 0, 0];
    const XCHG_RSI: &[u8] = &[0x87, 0x3e];
    const CALL: &[u8] = &[0xe8, 0, 2, 0, 0];

    #[test]
    fn each_kind_of_use_is_told_apart() {
        let read = of(&[&[0x8b, 0x15, 0, 1, 0, 0]]).unwrap();
        assert_eq!(read.reads, [0x1106].into());
        let signed = of(&[&[0x48, 0x63, 0x0d, 0, 1, 0, 0]]).unwrap();
        assert_eq!(signed.reads_signed, [0x1107].into());
        assert!(signed.reads.is_empty() && read.reads_signed.is_empty());
        let wide = of(&[&[0x48, 0x8b, 0x05, 0, 1, 0, 0]]).unwrap();
        assert_eq!(wide.reads_wide, [0x1107].into());
        // `test [rsi], al`, as Go checks for nil.
        let exchanged = of(&[LEA_RSI, &[0x84, 0x06], XCHG_RSI]).unwrap();
        assert_eq!(exchanged.exchanges, [0x1107].into());
        let handed = of(&[LEA_RAX, CALL]).unwrap();
        assert_eq!(handed.hands, [(0x120c, 0x1107)].into());
        // A write is no read.
        assert_eq!(of(&[&[0x89, 0x15, 0, 1, 0, 0]]), Some(Uses::default()));
    }

    #[test]
    fn a_register_that_changed_holds_nothing() {
        for between in [
            // mov rsi, rdi; mov esi, edi; pop rsi; call; jmp to the next.
            &[0x48, 0x89, 0xfe][..],
            &[0x89, 0xfe],
            &[0x5e],
            CALL,
            &[0xeb, 0x00],
        ] {
            let seen = of(&[LEA_RSI, between, XCHG_RSI]).unwrap();
            assert!(seen.exchanges.is_empty(), "{between:x?}");
        }
        // mul rcx writes RAX, without naming it.
        let seen = of(&[LEA_RAX, &[0x48, 0xf7, 0xe1], CALL]).unwrap();
        assert!(seen.hands.is_empty());
        // [rsi+4], and what is in another segment.
        for other in [&[0x87, 0x7e, 0x04][..], &[0x64, 0x87, 0x3e]] {
            assert!(of(&[LEA_RSI, other]).unwrap().exchanges.is_empty());
        }
    }

    #[test]
    fn what_is_no_code_says_nothing() {
        assert_eq!(of(&[&[0x06]]), None, "no instruction of 64 bits");
        assert_eq!(of(&[&LEA_RSI[..4]]), None, "cut");
    }
}
