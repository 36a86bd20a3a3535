"""The model of a disk: what was not synced may be lost, what was is there, and no other step makes it so."""

from __future__ import annotations

import random

import pytest

from benchmarks.faults.disk_model import RULES, SECTOR_BYTES, Disk, Entry, Rule, Tree, cuts
from benchmarks.faults.operations import Operation
from runtime.contracts.errors import Unsupported


def create(path: str) -> Operation:
    return Operation(kind="create", path=path)


def write(path: str, data: bytes, offset: int = 0) -> Operation:
    return Operation(kind="write", path=path, data=data, offset=offset, size=len(data))


def sync(path: str) -> Operation:
    return Operation(kind="sync", path=path)


def rename(path: str, target: str) -> Operation:
    return Operation(kind="rename", path=path, target=target)


def disk_after(rule: Rule, *operations: Operation, tree: Tree | None = None) -> Disk:
    disk = Disk(tree or {}, rule)
    for operation in operations:
        disk.do(operation)
    return disk


def contents(tree: Tree) -> dict[str, bytes | str | None]:
    return {path: entry.data for path, entry in tree.items()}


@pytest.mark.parametrize("rule", RULES)
def test_bytes_that_were_not_synced_are_not_sure(rule: Rule) -> None:
    disk = disk_after(rule, create("a"), write("a", b"new"), sync("."))
    assert contents(disk.live()) == {"a": b"new"}
    assert contents(disk.least()) == {"a": b""}
    disk.do(sync("a"))
    assert contents(disk.least()) == {"a": b"new"}


def test_by_the_strict_rule_a_synced_file_has_no_name_before_its_folder_is_synced() -> None:
    disk = disk_after("strict", create("a"), write("a", b"new"), sync("a"))
    assert contents(disk.least()) == {}
    disk.do(sync("."))
    assert contents(disk.least()) == {"a": b"new"}


def test_by_the_ext4_rule_any_sync_makes_earlier_names_sure_and_no_later_one() -> None:
    disk = disk_after("ext4", create("a"), create("b"), sync("b"), create("c"))
    assert contents(disk.least()) == {"a": b"", "b": b""}


def test_a_rename_between_folders_needs_both_and_is_never_half_done() -> None:
    tree: Tree = {
        "from": Entry(data=None, mode=0o755),
        "from/a": Entry(data=b"x", mode=0o644),
        "to": Entry(data=None, mode=0o755),
    }
    disk = disk_after("strict", rename("from/a", "to/a"), sync("to"), tree=tree)
    assert "from/a" in disk.least()
    for seed in range(20):
        some = disk.some(random.Random(seed))
        assert ("from/a" in some) != ("to/a" in some)
    disk.do(sync("from"))
    assert "to/a" in disk.least()
    assert "from/a" not in disk.least()


@pytest.mark.parametrize("rule", RULES)
def test_the_classic_mistake_a_rename_over_a_file_without_a_sync_may_leave_it_empty(rule: Rule) -> None:
    tree: Tree = {"a": Entry(data=b"old", mode=0o644)}
    disk = disk_after(rule, create("a.new"), write("a.new", b"new"), rename("a.new", "a"), sync("."), tree=tree)
    assert contents(disk.least()) == {"a": b""}


def test_a_deletion_may_come_back_until_its_folder_is_synced() -> None:
    tree: Tree = {"a": Entry(data=b"old", mode=0o644)}
    disk = disk_after("strict", Operation(kind="unlink", path="a"), tree=tree)
    assert disk.live() == {}
    assert contents(disk.least()) == {"a": b"old"}
    disk.do(sync("."))
    assert disk.least() == {}


def test_an_unsynced_write_may_be_torn_between_sectors_only() -> None:
    data = bytes(range(256)) * 16
    disk = disk_after("strict", create("a"), sync("."), write("a", data, offset=100))
    lengths = {len(contents(disk.some(random.Random(seed)))["a"] or b"") for seed in range(300)}
    assert {0, 100 + len(data)} < lengths
    assert all(length % SECTOR_BYTES == 0 for length in lengths - {0, 100 + len(data)})


@pytest.mark.parametrize("rule", RULES)
def test_what_may_be_left_lies_between_what_is_sure_and_what_was_done(rule: Rule) -> None:
    disk = disk_after(rule, create("a"), sync("."), create("b"), create("c"))
    seen = {tuple(disk.some(random.Random(seed))) for seed in range(100)}
    assert all(names[:1] == ("a",) for names in seen)
    assert (("a", "c") in seen) == (rule == "strict"), "a journal loses no earlier name and keeps a later one"
    assert {("a",), ("a", "b"), ("a", "b", "c")} <= seen


def test_every_state_that_is_sure_is_cut_once_and_with_the_last_moment_that_leaves_it() -> None:
    operations = [create("a"), write("a", b"1"), sync("a"), sync("."), Operation(kind="show", data=b"verdict")]
    least = [
        (name, number, contents(tree)) for name, number, tree in cuts({}, operations, "strict", random.Random(1), 0)
    ]
    assert least == [("3:least", 3, {}), ("5:least", 5, {"a": b"1"})]


def test_what_the_model_does_not_understand_is_refused() -> None:
    with pytest.raises(Unsupported, match="does not know"):
        disk_after("strict", Operation(kind="other", path="a"))
    with pytest.raises(Unsupported, match="seen nobody make it"):
        disk_after("strict", write("a", b"x"))
