"""Torch modules by factory, and exported programs: traced with photos or samples, equal to themselves run eagerly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from optimize.sources.imported import SourceOptions
from optimize.sources.loaded import IMAGENET
from optimize.sources.source import import_source
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.errors import Unsupported
from tests.optimize.sources.small_networks import PX, pixels_of
from tests.optimize.sources.test_photo_networks import answer

AT_32_PX = SourceOptions(px=PX)
HERE = "tests.optimize.sources.test_torch_modules"


class Classes(nn.Module):
    """Float NCHW to probabilities; with dropout, so that a module left in training mode is found out."""

    def __init__(self, columns: int = 5, bytes_in: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.bytes_in = bytes_in
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.bytes_in:
            x = x.permute(0, 3, 1, 2).to(torch.float32) / 64
        z = self.head(self.body(x))
        return z if self.bytes_in else torch.softmax(z, 1)


class TwoInputs(nn.Module):
    def forward(self, a: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": a.sum(1) + ids.to(torch.float32).sum(1), "first": a[:, :2]}


class Refusing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("I eat\nnothing")


def classes() -> nn.Module:
    return Classes()


def of_bytes() -> nn.Module:
    return Classes(bytes_in=True)


def half() -> nn.Module:
    return Classes().half()


def program() -> torch.export.ExportedProgram:
    sample = torch.zeros(2, 3, PX, PX)
    return torch.export.export(Classes().eval(), (sample,), dynamic_shapes=({0: torch.export.Dim("batch")},))


@pytest.mark.parametrize("factory", ["classes", "program", "half"])
def test_a_module_of_float_photos_is_imported_with_its_softmax_off(factory: str, photos: list[Path]) -> None:
    imported = import_source(f"{HERE}:{factory}", AT_32_PX, photos, None)
    assert (imported.kind, imported.px) == ("photos", PX)
    assert imported.parity.inputs == 4
    assert "torch" in imported.parity.of
    x = torch.from_numpy(np.ascontiguousarray(IMAGENET.apply(pixels_of(photos)).transpose(0, 3, 1, 2)))
    module = Classes().half().float() if factory == "half" else Classes()
    with torch.no_grad():
        logits = module.eval().head(module.body(x)).numpy()
    assert np.allclose(answer(imported.network, pixels_of(photos)), logits, atol=1e-4)
    assert imported.provenance["torch"] == torch.__version__
    assert imported.network.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_a_module_of_bytes_is_found_out_by_trying(photos: list[Path]) -> None:
    imported = import_source(f"{HERE}:of_bytes", AT_32_PX, photos, None)
    with torch.no_grad():
        logits = of_bytes().eval()(torch.from_numpy(pixels_of(photos))).numpy()
    assert np.allclose(answer(imported.network, pixels_of(photos)), logits, atol=1e-4)
    assert not any("ImageNet" in note for note in imported.notes)


def test_a_module_of_several_inputs_is_traced_with_samples(plain: SourceOptions, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {"a": random.normal(size=(4, 3)).astype(np.float32), "ids": random.integers(0, 9, (4, 2))}
    np.savez(tmp_path / "s.npz", **arrays)
    imported = import_source(f"{HERE}:TwoInputs", plain, [], tmp_path / "s.npz")
    assert imported.kind == "tensors"
    assert imported.tensors == (
        TensorSpec(name="a", dtype="float32", shape=(None, 3)),
        TensorSpec(name="ids", dtype="int64", shape=(None, 2)),
    )
    assert imported.parity.inputs == 4
    assert imported.parity.max_abs_error < 1e-5


def test_a_saved_program_is_loaded(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    torch.export.save(program(), tmp_path / "m.pt2")
    imported = import_source(str(tmp_path / "m.pt2"), plain, photos, None)
    assert (imported.kind, imported.px) == ("photos", PX)
    assert imported.provenance["source"] == "m.pt2"


def test_what_is_no_program_is_refused(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(b"no zip")
    with pytest.raises(Unsupported, match=r"m\.pt2: expected a program that torch\.export\.save wrote"):
        import_source(str(tmp_path / "m.pt2"), plain, photos, None)
    with pytest.raises(Unsupported, match="there is no such file"):
        import_source(str(tmp_path / "none.pt2"), plain, photos, None)


def test_a_module_that_takes_no_photos_says_what_was_tried(photos: list[Path], plain: SourceOptions) -> None:
    with pytest.raises(Unsupported, match=r"float32 \(2, 3, 224, 224\): I eat nothing; uint8.*give --px, or --samples"):
        import_source(f"{HERE}:Refusing", plain, photos, None)
