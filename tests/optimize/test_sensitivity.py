"""The layer that hurts is found by name, and leaving it in float helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from optimize.agreement import open_session, run_all
from optimize.evidence import LayerSensitivity
from optimize.quantize import quantisable
from optimize.sensitivity import sensitivity
from optimize.targets.target import Inputs
from tests.optimize.spoilt_network import SPOILT, quantised, spoilt_network
from tests.optimize.targets.engine_networks import photo_network, write_inputs


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(spoilt_network(), tmp_path_factory.mktemp("spoilt"), rows=32)


@pytest.fixture(scope="module")
def found(spoilt: Inputs, tmp_path_factory: pytest.TempPathFactory) -> list[LayerSensitivity]:
    path = quantised(spoilt, tmp_path_factory.mktemp("found") / "int8.onnx")
    return sensitivity(spoilt.network, path, spoilt.samples)


def test_a_deliberately_terrible_layer_comes_first(found: list[LayerSensitivity]) -> None:
    assert found[0].node == SPOILT
    assert found[0].sqnr_db < 15
    assert found[0].added_noise > 5 * max(layer.added_noise for layer in found[1:])


def test_a_sound_network_has_no_terrible_layer(tmp_path: Path) -> None:
    inputs = write_inputs(photo_network(), tmp_path, rows=16)
    layers = sensitivity(inputs.network, quantised(inputs, tmp_path / "int8.onnx"), inputs.samples)
    assert min(layer.sqnr_db for layer in layers) > 20
    assert max(layer.added_noise for layer in layers) < 0.01


def test_names_are_those_of_quantisable_nodes_once_each(spoilt: Inputs, found: list[LayerSensitivity]) -> None:
    names = [layer.node for layer in found]
    assert set(names) == set(quantisable(onnx.load(spoilt.network)))
    assert len(set(names)) == len(names)


def test_the_order_is_that_of_the_noise_each_layer_adds(found: list[LayerSensitivity]) -> None:
    added = [layer.added_noise for layer in found]
    assert added == sorted(added, reverse=True)


def test_noise_that_comes_from_above_is_not_held_against_a_layer(found: list[LayerSensitivity]) -> None:
    """The head gets a ruined input, so its output is as bad; it adds next to nothing itself."""
    by_node = {layer.node: layer for layer in found}
    noise = {name: 10 ** (-layer.sqnr_db / 10) for name, layer in by_node.items()}
    assert noise["head"] > 5 * noise["stem"]
    assert by_node["head"].added_noise == pytest.approx(noise["head"] - noise[SPOILT])
    assert by_node["head"].added_noise < by_node["stem"].added_noise


def test_figures_are_those_of_the_two_networks_outputs(spoilt: Inputs, tmp_path: Path) -> None:
    """At the network's own output nothing need be looked up inside: the SQNR is that of the outputs."""
    path = quantised(spoilt, tmp_path / "int8.onnx")
    layers = {layer.node: layer for layer in sensitivity(spoilt.network, path, spoilt.samples)}
    exact, rounded = (
        np.concatenate([run_all(open_session(file), feed)["logits"] for feed in spoilt.samples.read(2)])
        for file in (spoilt.network, path)
    )
    decibels = 10 * np.log10(np.square(exact).sum() / np.square(exact - rounded).sum())
    assert layers["head"].sqnr_db == pytest.approx(decibels, abs=0.2)


def test_to_leave_the_first_layer_in_float_helps_more_than_any_other(
    spoilt: Inputs, found: list[LayerSensitivity], tmp_path: Path
) -> None:
    def error(*excluded: str) -> float:
        path = quantised(spoilt, tmp_path / f"{'-'.join(excluded) or 'none'}.onnx", *excluded)
        runs = [
            np.concatenate([run_all(open_session(file), feed)["features"] for feed in spoilt.samples.read()])
            for file in (spoilt.network, path)
        ]
        return float(np.linalg.norm(runs[0] - runs[1]))

    errors = {layer.node: error(layer.node) for layer in found if layer.node != "head"}
    assert min(errors, key=lambda node: errors[node]) == found[0].node
    assert errors[found[0].node] < 0.5 * error()


def test_a_network_with_nothing_in_integers_has_no_layers(spoilt: Inputs) -> None:
    assert sensitivity(spoilt.network, spoilt.network, spoilt.samples) == []
