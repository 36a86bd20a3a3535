"""What a build is to do, as one TOML file or as flags: the same fields, unknown keys refused."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from optimize.targets.target import TARGETS
from runtime.contracts.bundle import MAX_PX, MIN_PX
from runtime.contracts.codec import decode
from runtime.contracts.errors import Unsupported, Untrusted
from runtime.contracts.records import check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRecipe:
    """The risk budget, and which certify items to spend on it.

    Attributes:
        max_missed: share of counterfeits that may pass as authentic.
        max_missed_fraud: share of frauds that the listing score may miss; 1 for no such budget.
        confidence: of all the photos' claims together.
        max_review: share of items that may go to an expert; ``None`` for no such budget.
        prevalence: share of counterfeits that ``max_review`` assumes.
        certify_share: share of the certify split to spend on this release.
        after: earlier bundles, whose certify items are spent.
    """

    max_missed: float = 0.02
    max_missed_fraud: float = 0.5
    confidence: float = 0.95
    max_review: float | None = None
    prevalence: float = 0.09
    certify_share: float = 1.0
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecipe:
    """How to look for variants.

    Attributes:
        time_budget_s: after which no new round of candidates begins; ``None`` for no limit.
        calibration_photos: the most photos to calibrate on.
        min_cosine: what outputs of a model that is no authenticator need.
        max_size_mb: the most megabytes of a variant.
        cache: folder of finished steps; ``None`` for the user's cache folder.
        workers: processes; ``None`` for one a core.
    """

    time_budget_s: float | None = None
    calibration_photos: int = 1000
    min_cosine: float = 0.95
    max_size_mb: float | None = None
    cache: str | None = None
    workers: int | None = None

    @property
    def max_bytes(self) -> int | None:
        """``max_size_mb`` in bytes."""
        return None if self.max_size_mb is None else int(self.max_size_mb * 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecipe:
    """What the source does not say of its input itself; see ``SourceOptions``."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    counterfeit_class: str | None = None
    px: int | None = None
    features: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A build.

    Attributes:
        source: MODEL folder from ``finetune``, or what ``optimize.sources`` takes.
        out: the bundle's folder, new or empty.
        escalate: the large model of a cascade, which looks at what the source is not sure of.
        data: datasets of labelled items, united.
        samples: inputs for a model that is no authenticator: ``.npz``, a folder of them, or a folder of photos.
        targets: what to compile for.
        name: of the bundle; ``None`` takes the source's.
        listing: a table model that scores the items' listings, instead of the source's own.
        seed: of the split, where the source has none.
    """

    source: str
    out: str
    escalate: str | None = None
    data: tuple[str, ...] = ()
    samples: str | None = None
    targets: tuple[str, ...] = ("x86",)
    name: str | None = None
    listing: str | None = None
    seed: int = 7
    budget: BudgetRecipe = BudgetRecipe()
    search: SearchRecipe = SearchRecipe()
    input: InputRecipe = InputRecipe()


def read_recipe(path: Path) -> dict[str, object]:
    """Parse a recipe; ``check_recipe`` makes it one.

    Raises:
        Unsupported: it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Unsupported(f"recipe {path}: there is no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unsupported(f"recipe {path}: expected TOML, got text that does not parse ({error})") from error


def check_recipe(data: object, what: str) -> Recipe:
    """Build a recipe from plain data.

    Raises:
        Unsupported: a key is unknown, of the wrong type, or out of its range; the message names it.
    """
    try:
        recipe = decode(Recipe, data, what)
    except Untrusted as error:
        raise Unsupported(str(error)) from error
    budget, search = recipe.budget, recipe.search
    for name, value, least, most in (
        ("budget.max_missed", budget.max_missed, 0.0, 1.0),
        ("budget.max_missed_fraud", budget.max_missed_fraud, 0.0, 1.0),
        ("budget.max_review", 1.0 if budget.max_review is None else budget.max_review, 0.0, 1.0),
        ("budget.certify_share", budget.certify_share, 0.0, 1.0),
        ("search.min_cosine", search.min_cosine, 0.0, 1.0),
        ("search.time_budget_s", 1.0 if search.time_budget_s is None else search.time_budget_s, 0.0, 1e9),
        ("search.max_size_mb", 1.0 if search.max_size_mb is None else search.max_size_mb, 0.0, 1e6),
    ):
        if not least < value <= most:
            raise Unsupported(f"{what}: {name}: expected more than {least:g} and at most {most:g}, got {value:g}")
    if not 0.0 < budget.confidence < 1.0:
        raise Unsupported(
            f"{what}: budget.confidence: expected less than 1, as no number of items proves anything for certain, "
            f"got {budget.confidence:g}"
        )
    if not 0.0 <= budget.prevalence < 1.0:
        raise Unsupported(f"{what}: budget.prevalence: expected 0 to less than 1, got {budget.prevalence:g}")
    for name, count, fewest, greatest in (
        ("search.calibration_photos", search.calibration_photos, 8, 1_000_000),
        ("search.workers", 1 if search.workers is None else search.workers, 1, 256),
        ("input.px", MIN_PX if recipe.input.px is None else recipe.input.px, MIN_PX, MAX_PX),
    ):
        if not fewest <= count <= greatest:
            raise Unsupported(f"{what}: {name}: expected {fewest} to {greatest}, got {count}")
    if recipe.name is not None:
        check_name(recipe.name, "the bundle's name")
    unknown = [target for target in recipe.targets if target not in TARGETS]
    if unknown or not recipe.targets or len(set(recipe.targets)) != len(recipe.targets):
        raise Unsupported(f"{what}: targets: expected distinct ones of {', '.join(TARGETS)}, got {recipe.targets}")
    for name, values in (("input.mean", recipe.input.mean), ("input.std", recipe.input.std)):
        if values is not None and (len(values) != 3 or (name == "input.std" and min(values) <= 0)):
            positive = "positive " if name == "input.std" else ""
            raise Unsupported(
                f"{what}: {name}: expected three {positive}numbers for R, G and B on the scale 0 to 255, got {values}"
            )
    return recipe
