//! Sequence numbers of a hostile stream: what comes out is in order, once, and in bounded time.
#![no_main]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use damwall_fuzz::Input;
use damwall_fuzz::sansio::reorder::{Inserted, MAX_NACKS, Reorder};
use libfuzzer_sys::fuzz_target;

const HOLD: Duration = Duration::from_millis(60);

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut reorder = Reorder::new(HOLD);
    let mut now = Instant::now();
    let mut number = input.word();
    let mut taken = 0u32;
    let mut given = 0u32;
    let mut last: Option<u16> = None;
    while !input.is_empty() {
        let step = input.byte();
        number = match step {
            0..=0x3f => number.wrapping_add(u16::from(step) + 1),
            0x40..=0x5f => number.wrapping_sub(u16::from(step & 0x1f)),
            0x60 => input.word(),
            _ => number.wrapping_add(1),
        };
        now += Duration::from_millis(u64::from(input.byte() >> 3));
        match reorder.insert(now, number, number) {
            Inserted::New => taken += 1,
            // What waited is gone.
            Inserted::Restart => (taken, given, last) = (1, 0, None),
            Inserted::Duplicate | Inserted::Late => {}
        }
        assert!(!reorder.is_wanted(number), "it has come");
        let nacks = reorder.nacks(now);
        assert_eq!(nacks.iter().collect::<BTreeSet<_>>().len(), nacks.len());
        assert!(nacks.iter().all(|&lost| reorder.is_wanted(lost)));
        let is_all = nacks.len() < MAX_NACKS;
        assert!(!is_all || reorder.next_nack().is_none_or(|at| at > now));
        while let Some((lost, popped)) = reorder.pop(now) {
            given += 1;
            if let Some(last) = last {
                assert_eq!(popped, last.wrapping_add(lost).wrapping_add(1), "in order");
            }
            last = Some(popped);
        }
        assert!(given <= taken);
        assert!(reorder.next_give_up().is_none_or(|at| at > now && at <= now + HOLD));
    }
    now += HOLD;
    while reorder.pop(now).is_some() {
        given += 1;
    }
    assert_eq!(given, taken, "nothing is held for longer than it may be");
});
