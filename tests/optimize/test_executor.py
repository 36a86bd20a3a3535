"""One contract for all executors, and what processes add: whoever dies takes down nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimize.executor import Executor, InProcess, Processes

JOBS = (5, 3, 1, 4)


def square_slowly(number: int) -> int:
    time.sleep(number / 50)
    return number * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise ValueError("three is a mistake of the programmer")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return square_slowly(number)


def leave_at_three(number: int) -> int:
    if number == 3:
        os._exit(7)
    return square_slowly(number)


def always_die(number: int) -> int:
    os._exit(number)


def own_pid(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    executor = Processes(2)
    yield executor
    executor.close()


@pytest.fixture(params=["InProcess", "Processes"])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "InProcess":
        return InProcess()
    found: Executor = request.getfixturevalue("processes")
    return found


def test_results_come_in_the_order_of_the_jobs(executor: Executor) -> None:
    assert executor.run(square_slowly, JOBS) == [25, 9, 1, 16]


def test_progress_counts_every_job_once(executor: Executor) -> None:
    told: list[int] = []
    executor.run(square_slowly, JOBS, told.append)
    assert told == [1, 2, 3, 4]


def test_without_jobs_there_are_no_results(executor: Executor) -> None:
    told: list[int] = []
    assert executor.run(square_slowly, (), told.append) == []
    assert told == []


def test_a_mistake_in_a_job_ends_the_run_and_not_the_executor(executor: Executor) -> None:
    with pytest.raises(ValueError, match="three is a mistake of the programmer"):
        executor.run(refuse_three, (1, 3, 5))
    assert executor.run(square_slowly, (2,)) == [4]


@pytest.mark.parametrize("function", [die_at_three, leave_at_three])
def test_a_job_whose_process_dies_gives_nothing_and_all_others_their_results(
    processes: Processes, function: object
) -> None:
    told: list[int] = []
    assert callable(function)
    assert processes.run(function, JOBS, told.append) == [25, None, 1, 16]
    assert told == [1, 2, 3, 4]
    assert processes.run(square_slowly, (2,)) == [4]


def test_where_every_process_dies_every_result_is_nothing(processes: Processes) -> None:
    assert processes.run(always_die, (1, 2)) == [None, None]


def test_jobs_run_in_other_processes_and_keep_them_between_runs(processes: Processes) -> None:
    first, second = (set(processes.run(own_pid, range(6))) for _ in range(2))
    assert os.getpid() not in first | second
    assert len(first | second) <= 2


def test_closed_processes_are_gone_and_may_be_asked_again() -> None:
    executor = Processes(1)
    executor.close()
    (pid,) = executor.run(own_pid, (0,))
    assert pid is not None
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (other,) = executor.run(own_pid, (0,))
    executor.close()
    assert other not in (None, pid)


_KILLED = """
import os, signal, sys, time
from pathlib import Path
from optimize.executor import Processes

def kill_parent(folder):
    Path(folder, str(os.getpid())).touch()
    if len(list(Path(folder).iterdir())) == 2:
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1.0)

if __name__ == "__main__":
    Processes(2).run(kill_parent, [sys.argv[1]] * 8)
"""


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "zombie" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_workers_of_a_killed_build_end_too(tmp_path: Path) -> None:
    program, folder = tmp_path / "program.py", tmp_path / "pids"
    program.write_text(_KILLED)
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, str(program), str(folder)], env=environment, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    pids = [int(path.name) for path in folder.iterdir()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, [os.kill(pid, signal.SIGKILL) for pid in pids if alive(pid)]
        time.sleep(0.05)


_INTERRUPTED = """
import sys, time
from contextlib import closing
from pathlib import Path
from optimize.executor import Processes

def wait(place):
    Path(place).touch()
    time.sleep(1.0)

if __name__ == "__main__":
    Path(sys.argv[1]).touch()
    try:
        with closing(Processes(2)) as executor:
            executor.run(wait, sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("when", ["while the workers start", "while the jobs run"])
def test_ctrl_c_ends_the_parent_and_no_worker_speaks(tmp_path: Path, when: str) -> None:
    program, started, places = tmp_path / "program.py", tmp_path / "started", [tmp_path / "a", tmp_path / "b"]
    program.write_text(_INTERRUPTED)
    waited_for = places if when == "while the jobs run" else [started]
    process = subprocess.Popen(
        [sys.executable, str(program), str(started), *map(str, places)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in waited_for):
        assert time.monotonic() < deadline, process.kill()
        time.sleep(0.01)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")
