"""What an ``.ort`` file needs, and its bytes in one order, by ONNX Runtime's own tools in a process of their own.

Importing those tools imports torch, changes ``sys.path`` and takes over the root logger: never import them elsewhere.
Run as a program it prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.contracts.errors import Unsupported

TIME_LIMIT_S = 120

_ALIGNMENT = 16  # of everything that ONNX Runtime writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator that a network needs; ``types`` is ONNX Runtime's JSON of them, empty where they do not matter."""

    domain: str
    opset: int
    name: str
    types: str = ""


def settle(file: Path) -> list[Operator]:
    """Bring an ``.ort`` file that ONNX Runtime has just written to the same bytes from run to run.

    Its writer puts one table, of kernels' types, in the order of a hash map whose seed is an address.

    Returns:
        The operators that the file needs, in the order of domain, opset and name.

    Raises:
        Unsupported: it is no ``.ort`` file.
    """
    return [Operator(**one) for one in _ask("settle", file)]


def missing_operators(file: Path, config: Path) -> list[str]:
    """Return the operators of an ``.ort`` file that a build with this config would lack, as ``domain:opset:name``.

    Raises:
        Unsupported: one of them cannot be read.
    """
    return [str(one) for one in _ask("missing", file, config)]


def write_config(operators: Iterable[Operator], path: Path) -> None:
    """Write the config that a reduced build of ONNX Runtime reads (``--include_ops_by_config``)."""
    lines: dict[tuple[str, int], list[str]] = {}
    for one in operators:
        lines.setdefault((one.domain, one.opset), []).append(one.name + one.types)
    text = [f"{domain};{opset};{','.join(names)}\n" for (domain, opset), names in sorted(lines.items())]
    path.write_text("# operators and types that one network needs\n" + "".join(text), encoding="utf-8")


def _ask(question: str, *paths: Path) -> list[Any]:
    # -P: no folder of ours goes before the libraries
    command = [sys.executable, "-P", "-m", __name__, question, *map(str, paths)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise Unsupported(f"{paths[0].name}: ONNX Runtime's tools did not answer within {TIME_LIMIT_S} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unsupported(f"{paths[0].name}: ONNX Runtime's tools cannot read it as .ort: {last}")
    found: list[Any] = json.loads(done.stdout)
    return found


def _answer(question: str, file: str, config: str = "") -> list[Any]:
    # without this, the tools import torch only to see whether it is there
    sys.modules["torch"] = None  # type: ignore[assignment]
    from onnxruntime.tools.ort_format_model import OperatorTypeUsageManager, OrtFormatModelProcessor
    from onnxruntime.tools.reduced_build_config_parser import parse_config

    required: dict[str, dict[int, set[str]]] = {}
    types = OperatorTypeUsageManager()
    OrtFormatModelProcessor(file, required, types).process()
    needed = sorted(
        (domain, opset, name)
        for domain, opsets in required.items()
        for opset, names in opsets.items()
        for name in names
    )
    if question == "missing":
        kept, _ = parse_config(config, True)
        return [
            f"{domain}:{opset}:{name}"
            for domain, opset, name in needed
            if name not in kept.get(domain, {}).get(opset, ())
        ]
    Path(file).write_bytes(_settled(Path(file).read_bytes()))
    return [
        asdict(Operator(domain=domain, opset=opset, name=name, types=types.get_config_entry(domain, name) or ""))
        for domain, opset, name in needed
    ]


def _settled(raw: bytes) -> bytes:
    """Write the head of the file anew, with the kernels' types sorted, before the network's own bytes as they are.

    A FlatBuffer grows from its end: the network lies behind the table of kernels' types, and every offset is relative.
    """
    import flatbuffers
    from ort_flatbuffers_py.fbs import InferenceSession as Session

    session = Session.InferenceSession.GetRootAs(raw)
    network = session.Model()._tab
    start = min(network.Pos, network.Pos - network.Get(flatbuffers.number_types.SOffsetTFlags, network.Pos))
    table = session._tab
    version_at = table.Indirect(table.Pos + table.Offset(4))
    builder = flatbuffers.Builder(0)
    builder.Bytes, builder.head, builder.minalign = bytearray(raw[start:]), 0, _ALIGNMENT
    resolver = _sorted_resolver(builder, session.KernelTypeStrResolver())
    Session.Start(builder)
    Session.AddOrtVersion(builder, len(raw) - version_at)
    Session.AddModel(builder, len(raw) - network.Pos)
    Session.AddKernelTypeStrResolver(builder, resolver)
    builder.Finish(Session.End(builder), file_identifier=b"ORTM")
    return bytes(builder.Output())


def _sorted_resolver(builder: Any, resolver: Any) -> int:
    from ort_flatbuffers_py.fbs import ArgTypeAndIndex as Argument
    from ort_flatbuffers_py.fbs import KernelTypeStrArgsEntry as TypeEntry
    from ort_flatbuffers_py.fbs import KernelTypeStrResolver as Resolver
    from ort_flatbuffers_py.fbs import OpIdKernelTypeStrArgsEntry as OperatorEntry

    operators = [resolver.OpKernelTypeStrArgs(i) for i in range(resolver.OpKernelTypeStrArgsLength())]
    written = []
    for operator in sorted(operators, key=lambda one: one.OpId()):
        entries = []
        kinds = [operator.KernelTypeStrArgs(i) for i in range(operator.KernelTypeStrArgsLength())]
        for kind in sorted(kinds, key=lambda one: one.KernelTypeStr()):
            arguments = []
            for argument in (kind.Args(i) for i in range(kind.ArgsLength())):
                Argument.Start(builder)
                Argument.AddArgType(builder, argument.ArgType())
                Argument.AddIndex(builder, argument.Index())
                arguments.append(Argument.End(builder))
            name, vector = builder.CreateString(kind.KernelTypeStr()), _vector(builder, arguments)
            TypeEntry.Start(builder)
            TypeEntry.AddKernelTypeStr(builder, name)
            TypeEntry.AddArgs(builder, vector)
            entries.append(TypeEntry.End(builder))
        name, vector = builder.CreateString(operator.OpId()), _vector(builder, entries)
        OperatorEntry.Start(builder)
        OperatorEntry.AddOpId(builder, name)
        OperatorEntry.AddKernelTypeStrArgs(builder, vector)
        written.append(OperatorEntry.End(builder))
    vector = _vector(builder, written)
    Resolver.Start(builder)
    Resolver.AddOpKernelTypeStrArgs(builder, vector)
    return int(Resolver.End(builder))


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(*sys.argv[1:])))
