"""How long ``touchstone-agent scan`` takes from start to end: by a daemon, without one, and beside a bare script.

    python -m benchmarks.scan_command HOME PHOTO [PHOTO ...]

HOME's daemon must run; ``scan`` without one works on a copy of HOME. The bare script sends the same photos to the
desk's socket with the standard library's HTTP client, and prints the verdict. Rounds are interleaved, each with new
item codes.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
BARE = """
import http.client, json, os, socket, sys
class Desk(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(sys.argv[1])
part = b"--x\\r\\nContent-Disposition: form-data; name="
body = part + b'"item_id"\\r\\n\\r\\n' + sys.argv[2].encode() + b"\\r\\n"
for path in sys.argv[3:]:
    name = os.path.splitext(os.path.basename(path))[0].encode()
    with open(path, "rb") as file:
        body += part + b'"*"; filename="' + name + b'"\\r\\n\\r\\n' + file.read() + b"\\r\\n"
desk = Desk("localhost")
desk.request("POST", "/scans", body + b"--x--\\r\\n", {"Content-Type": "multipart/form-data; boundary=x"})
verdict = json.loads(desk.getresponse().read())
print(verdict["item_id"], verdict["verdict"])
"""


def main() -> None:
    """Measure, and print medians in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("photos", nargs="+")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "home"
        shutil.copytree(asked.home, alone, ignore=shutil.ignore_patterns("*.sock", "run.lock"))
        scan = [sys.executable, "-m", "edge_agent.cli", "scan", *asked.photos, "--home"]
        commands = {
            "bare script": [sys.executable, "-c", BARE, str(asked.home / "desk.sock"), "ITEM", *asked.photos],
            "scan, by the daemon": [*scan, str(asked.home), "--item", "ITEM"],
            "scan, without a daemon": [*scan, str(alone), "--item", "ITEM"],
        }
        taken_ms: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(ROUNDS + 1):
            for name, command in commands.items():
                item = f"bench {secrets.token_hex(8)}"
                started_s = time.perf_counter()
                subprocess.run([item if word == "ITEM" else word for word in command], check=True, capture_output=True)
                if number:  # the first round warms the disk's cache
                    taken_ms[name].append((time.perf_counter() - started_s) * 1e3)
    for name, values in taken_ms.items():
        print(f"{name:24} median {statistics.median(values):7.1f} ms, lowest {min(values):7.1f} ms")


if __name__ == "__main__":
    main()
