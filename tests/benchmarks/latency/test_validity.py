from __future__ import annotations

from benchmarks.latency import validity


def test_a_machine_that_slows_in_mid_run_is_told_by_how_much_and_what_to_do() -> None:
    told = validity.slowed([10.0, 10.2, 11.8])
    assert "slowed by 18 %" in told
    assert "run again" in told
    assert validity.slowed([10.0, 10.4, 9.9]) == ""


def test_a_machine_that_was_slow_at_the_start_spoils_a_run_as_well() -> None:
    assert "sped up" in validity.slowed([13.0, 10.0, 10.0])


def test_a_speed_that_was_not_measured_is_no_proof_of_a_steady_one() -> None:
    assert validity.slowed([10.0]) != ""


def test_other_programs_at_work_make_a_result_invalid() -> None:
    assert "35 %" in validity.busy(35.0)
    assert validity.busy(2.0) == ""


def test_a_missing_verdict_is_named() -> None:
    assert "bad photo" in validity.failed(["bad photo", "another"])
    assert "1 more" in validity.failed(["bad photo", "another"])
    assert validity.failed([]) == ""


def test_too_few_verdicts_are_not_enough() -> None:
    assert "63 of 64" in validity.too_few(63, 64)
    assert validity.too_few(64, 64) == ""


def test_a_system_that_changes_its_mind_about_the_same_photos_is_found() -> None:
    assert "item 1" in validity.undecided({"item 0": ["a", "a"], "item 1": ["a", "b"]})
    assert validity.undecided({"item 0": ["a", "a"], "item 1": ["b"]}) == ""


def test_a_full_disk_is_found_before_it_slows() -> None:
    assert "96 % full" in validity.disk_nearly_full(4, 100)
    assert validity.disk_nearly_full(50, 100) == ""


def test_a_suite_that_is_late_itself_says_so() -> None:
    assert "2 of 100 orders late, the worst by 40 ms" in validity.off_schedule([0.1] * 98 + [40.0, 9.0])
    assert validity.off_schedule([0.1] * 100) == ""
    assert validity.off_schedule([]) == ""


def test_photos_that_were_shown_twice_at_once_are_no_fair_load() -> None:
    assert "33 orders waited" in validity.overrun(33, 32)
    assert validity.overrun(32, 32) == ""


def test_a_verdict_that_beats_the_limit_shows_that_the_limit_was_measured_badly() -> None:
    assert "140.0 ms is under the limit of 163.0 ms" in validity.under_the_limit(140.0, 163.0)
    assert validity.under_the_limit(171.0, 163.0) == ""
    assert validity.under_the_limit(1.0, None) == ""


def test_the_first_complaint_is_what_to_do_first() -> None:
    assert validity.judge("", "mend it", "wait") == (False, "mend it")
    assert validity.judge("", "") == (True, "")
