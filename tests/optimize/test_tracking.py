from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.optimize.rigs import REPOSITORY


def test_a_run_is_found_in_the_tracking_database_with_what_was_chosen_and_measured(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    program = (
        "from optimize.tracking import track\n"
        f"track('sqlite:///{database}', 'goods: build', {{'max_missed': 0.02, 'preferred': 'int8'}}, {{'auc': 0.99}})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(database) as connection:
        assert connection.execute("select name from experiments where name = 'touchstone'").fetchall()
        assert connection.execute("select key, value from metrics").fetchall() == [("auc", 0.99)]
        params = dict(connection.execute("select key, value from params").fetchall())
    assert params == {"max_missed": "0.02", "preferred": "int8"}
