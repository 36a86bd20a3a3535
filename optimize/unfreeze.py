"""Training the last blocks of the backbone, from activations that the frozen blocks computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from calibration_data.dataset import Item
from optimize.backbone import EMBEDDING, Embedder
from optimize.head import Head
from optimize.regions import region_of
from optimize.scoring import CHUNK, Progress, photos_of
from runtime.contracts.bundle import ANY_VIEW, InputSpec
from runtime.preprocess import prepare

_BATCH = 32
_LEARNING_RATE = 3e-4


def train_tail(
    embedder: Embedder,
    items: Sequence[Item],
    views: Sequence[str],
    wanted: InputSpec,
    seed: int,
    epochs: int,
    progress: Progress | None,
) -> Head:
    """Train the embedder's tail in place, together with a head, by cross-entropy with Adam.

    Batch normalisation keeps its ImageNet statistics: batches are small.

    Args:
        embedder: loaded for photos of this side.
        items: to train on.
        views: columns of the head.
        wanted: side of the photos, and the part of them that the model looks at.
        seed: of weights and order.
        epochs: over all photos.
        progress: called with (photos done, photos in all).

    Returns:
        The trained head, one column a view.
    """
    torch.manual_seed(seed)
    photos = photos_of(items, views)
    column = torch.tensor([0 if ANY_VIEW in views else list(views).index(photo.view) for _, photo in photos])
    target = torch.tensor([float(item.label == "counterfeit") for item, _ in photos])
    steps = len(photos) * (1 + epochs)
    activations: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(photos), CHUNK):
            chunk = [photo for _, photo in photos[start : start + CHUNK]]
            data, names = [photo.path.read_bytes() for photo in chunk], [str(photo.path) for photo in chunk]
            parts = [region_of(photo.view, views, wanted.regions) for photo in chunk]
            batch = prepare(data, wanted.px, names, parts)
            activations.append(embedder.stem(torch.from_numpy(batch)).to(torch.float16))
            if progress:
                progress(start + len(chunk), steps)
    inputs = torch.cat(activations).clone()
    head = nn.Linear(EMBEDDING, len(views))
    optimiser = torch.optim.AdamW([*embedder.tail_parameters(), *head.parameters()], _LEARNING_RATE, weight_decay=1e-2)
    weight = torch.where(target > 0, (1 - target).mean() / target.mean(), torch.ones_like(target))
    order = np.random.default_rng(seed)
    for epoch in range(epochs):
        for done, chosen in enumerate(torch.split(torch.from_numpy(order.permutation(len(photos))), _BATCH)):
            logits = head(embedder.tail(inputs[chosen].to(torch.float32)))
            own = logits.gather(1, column[chosen][:, None])[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(own, target[chosen], weight[chosen])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            if progress:
                progress(min(len(photos) * (1 + epoch) + (done + 1) * _BATCH, steps), steps)
    return Head(weight=head.weight.detach().numpy().T.copy(), bias=head.bias.detach().numpy().copy())
