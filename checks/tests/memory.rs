//! The peak of memory. It is measured of a whole process, so this test has a process of its own.

use synod_checks::memory::PeakMemory;

#[test]
fn a_peak_covers_what_was_given_back_and_not_what_was_there_before() {
    let touched = |bytes: usize| {
        let memory = vec![1_u8; bytes];
        assert_eq!(memory.iter().map(|&byte| usize::from(byte)).sum::<usize>(), bytes);
    };
    touched(96 << 20);
    let mut peak = PeakMemory::begin();
    let before = peak.sample().expect("Linux");
    touched(32 << 20);
    let peak = peak.end().expect("Linux");
    assert!(peak > before + (30 << 20), "{before}, then {peak}");
    assert!(peak < before + (64 << 20), "{before}, then {peak}");
}
