"""Decision trees of any library as one ONNX node, exact to the last comparison. Never trains and never prunes.

The node is ``ai.onnx.ml`` ``TreeEnsemble`` (version 5) in float64. A float32 input widened to float64 compares with a
float64 threshold exactly as in the library that grew the tree, and hundreds of leaves add up without float32's noise;
the older ``TreeEnsembleRegressor`` stores thresholds and sums in float32 and would get both wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, helper, numpy_helper

Comparison = Literal["<=", "<"]

_MODES: dict[Comparison, int] = {"<=": 0, "<": 1}
_SUM = 1
_NO_TRANSFORM = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree; node 0 is its root. All arrays have the shape ``(nodes,)``.

    Attributes:
        feature: ``int64`` column that an inner node compares; any number at a leaf.
        threshold: ``float64``; any number at a leaf.
        left: ``int64`` node for values that compare true; negative at a leaf.
        right: ``int64`` node for the others.
        missing_left: ``bool``: NaN goes to the left.
        value: ``float64`` contribution of a leaf; any number at an inner node.
    """

    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    missing_left: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]


def ensemble_node(
    trees: Sequence[Tree], comparison: Comparison, rows: str, sums: str, *, apart: bool = False
) -> onnx.NodeProto:
    """Return the node that adds up the leaves that each row falls into.

    Args:
        trees: at least one.
        comparison: of a value with a threshold; true goes to the left.
        rows: name of its input, ``float64 (N, F)``, NaN where missing.
        sums: name of its output, ``float64 (N, 1)``; ``float64 (N, len(trees))``, a leaf a tree, where ``apart``.
        apart: do not add up.
    """
    tables = _tables(trees)
    integers = ("nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs")
    node = helper.make_node(
        "TreeEnsemble",
        [rows],
        [sums],
        domain="ai.onnx.ml",
        n_targets=len(trees) if apart else 1,
        aggregate_function=_SUM,
        post_transform=_NO_TRANSFORM,
        nodes_splits=numpy_helper.from_array(tables["nodes_splits"].astype(np.float64)),
        nodes_modes=numpy_helper.from_array(np.full(len(tables["nodes_splits"]), _MODES[comparison], np.uint8)),
        leaf_weights=numpy_helper.from_array(tables["leaf_weights"].astype(np.float64)),
    )
    for name in (*integers, "tree_roots", "nodes_missing_value_tracks_true"):
        _add_integers(node, name, tables[name])
    leaves = [int((tree.left < 0).sum()) for tree in trees]
    targets = np.repeat(np.arange(len(trees)), leaves)
    _add_integers(node, "leaf_targetids", targets if apart else np.zeros_like(targets))
    return node


def _tables(trees: Sequence[Tree]) -> dict[str, npt.NDArray[np.float64]]:
    """Lay all trees out one after the other: inner nodes and leaves are numbered apart, as ``TreeEnsemble`` wants."""
    columns: dict[str, list[npt.NDArray[np.float64]]] = {}
    roots, nodes, leaves = [], 0, 0
    for each in trees:
        tree = _with_a_root(each)
        leaf = tree.left < 0
        number = np.where(leaf, leaves + np.cumsum(leaf) - 1, nodes + np.cumsum(~leaf) - 1)
        left, right = tree.left[~leaf], tree.right[~leaf]
        rows = {
            "nodes_featureids": tree.feature[~leaf],
            "nodes_splits": tree.threshold[~leaf],
            "nodes_truenodeids": number[left],
            "nodes_falsenodeids": number[right],
            "nodes_trueleafs": leaf[left],
            "nodes_falseleafs": leaf[right],
            "nodes_missing_value_tracks_true": tree.missing_left[~leaf],
            "leaf_weights": tree.value[leaf],
        }
        for name, values in rows.items():
            columns.setdefault(name, []).append(values.astype(np.float64))
        roots.append(nodes)
        nodes, leaves = nodes + int((~leaf).sum()), leaves + int(leaf.sum())
    return {name: np.concatenate(parts) for name, parts in columns.items()} | {"tree_roots": np.array(roots, float)}


def _with_a_root(tree: Tree) -> Tree:
    """Give a tree that is a single leaf an inner node, both of whose sides are that leaf: the format wants one."""
    if tree.left[0] >= 0:
        return tree
    return Tree(
        feature=np.zeros(2, np.int64),
        threshold=np.zeros(2),
        left=np.array([1, -1]),
        right=np.array([1, -1]),
        missing_left=np.zeros(2, np.bool_),
        value=np.array([0.0, tree.value[0]]),
    )


def _add_integers(node: onnx.NodeProto, name: str, values: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> None:
    # helper.make_attribute looks at every element's type, which takes minutes on a large forest
    attribute = AttributeProto(name=name, type=AttributeProto.INTS)
    attribute.ints.extend(values.astype(np.int64).tolist())
    node.attribute.append(attribute)
