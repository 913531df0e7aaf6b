//! What the kernel says of a program is read by name.

use super::*;

#[test]
fn fdinfo_is_read_by_name() {
    let cost = ProgramCost::parse(
        "pos:\t0\nprog_type:\t26\nrun_time_ns:\t1234\nrun_cnt:\t10\nrecursion_misses:\t2\n\
         verified_insns:\t900\n",
    );
    assert_eq!(
        cost,
        ProgramCost {
            run_time_ns: 1234,
            run_count: 10,
            recursion_misses: 2,
            verified_instructions: 900
        }
    );
    assert_eq!(ProgramCost::parse("garbage\n::\n"), ProgramCost::default());
}
