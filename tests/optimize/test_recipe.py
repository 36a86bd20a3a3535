"""A recipe as a file, as flags, and as both: what is wrong is refused by name."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from optimize.build_flags import add_build_flags, recipe_of
from optimize.recipe import BudgetRecipe, InputRecipe, Recipe, SearchRecipe, check_recipe, read_recipe
from runtime.contracts.errors import Unsupported

LEAST = {"source": "model", "out": "bundle", "data": ["goods"]}

FULL = """
source = "models:/goods/3"
out = "bundle"
data = ["a", "b"]
samples = "photos"
targets = ["x86", "openvino", "web"]
name = "goods"
listing = "fraud.onnx"
seed = 11

[budget]
max_missed = 0.01
max_missed_fraud = 0.4
confidence = 0.99
max_review = 0.2
prevalence = 0.05
certify_share = 0.5
after = ["earlier"]

[search]
time_budget_s = 120
calibration_photos = 500
min_cosine = 0.9
max_size_mb = 12.5
cache = "cache"
workers = 2

[input]
mean = [127, 127, 127]
std = [128, 128, 128]
counterfeit_class = "fake"
px = 224
features = ["price", "age"]
"""

EXPECTED = Recipe(
    source="models:/goods/3",
    out="bundle",
    data=("a", "b"),
    samples="photos",
    targets=("x86", "openvino", "web"),
    name="goods",
    listing="fraud.onnx",
    seed=11,
    budget=BudgetRecipe(
        max_missed=0.01,
        max_missed_fraud=0.4,
        confidence=0.99,
        max_review=0.2,
        prevalence=0.05,
        certify_share=0.5,
        after=("earlier",),
    ),
    search=SearchRecipe(
        time_budget_s=120.0, calibration_photos=500, min_cosine=0.9, max_size_mb=12.5, cache="cache", workers=2
    ),
    input=InputRecipe(
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        counterfeit_class="fake",
        px=224,
        features=("price", "age"),
    ),
)

FLAGS = (
    "models:/goods/3 --out bundle --data a --data b --samples photos --target x86 --target openvino --target web "
    "--name goods --listing fraud.onnx --seed 11 --max-missed 0.01 --max-missed-fraud 0.4 --confidence 0.99 "
    "--max-review 0.2 --prevalence 0.05 --certify-share 0.5 --after earlier --time-budget 120 "
    "--calibration-photos 500 --min-cosine 0.9 --max-size-mb 12.5 --cache cache --workers 2 --mean 127 127 127 "
    "--std 128 128 128 --counterfeit-class fake --px 224 --feature price --feature age"
)


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_build_flags(parser)
    return parser.parse_args(arguments)


def file(folder: Path, text: str) -> str:
    (folder / "recipe.toml").write_text(text)
    return str(folder / "recipe.toml")


def changed(section: str, **values: object) -> dict[str, object]:
    return {**LEAST, **values} if not section else {**LEAST, section: values}


def test_every_key_of_a_recipe_is_read(tmp_path: Path) -> None:
    assert recipe_of(options("--recipe", file(tmp_path, FULL))) == EXPECTED
    assert EXPECTED.search.max_bytes == 12_500_000


def test_every_key_of_a_recipe_is_a_flag_too() -> None:
    assert recipe_of(options(*FLAGS.split())) == EXPECTED


def test_the_common_case_needs_no_recipe() -> None:
    found = recipe_of(options("model", "--data", "goods", "--out", "bundle"))
    assert found == Recipe(source="model", out="bundle", data=("goods",))
    assert (found.targets, found.seed) == (("x86",), 7)
    assert found.budget == BudgetRecipe()
    assert found.search.max_bytes is None


def test_a_flag_that_is_given_wins_over_the_file_and_leaves_the_rest(tmp_path: Path) -> None:
    found = recipe_of(
        options(
            "--recipe", file(tmp_path, FULL), "--max-missed", "0.03", "--target", "arm", "--px", "96", "--seed", "1"
        )
    )
    assert found.budget.max_missed == 0.03
    assert found.budget.confidence == 0.99
    assert (found.targets, found.input.px, found.seed) == (("arm",), 96, 1)
    assert found.input.mean == EXPECTED.input.mean


def test_flags_may_open_a_section_that_the_file_does_not_have(tmp_path: Path) -> None:
    path = file(tmp_path, 'source = "model"\nout = "bundle"\n')
    found = recipe_of(options("--recipe", path, "--samples", "rows.npz", "--workers", "3"))
    assert (found.samples, found.search.workers) == ("rows.npz", 3)


@pytest.mark.parametrize(
    ("section", "named"),
    [("", "maximum"), ("budget", "maximum"), ("search", "maximum"), ("input", "maximum")],
)
def test_an_unknown_key_is_refused_by_name_at_every_level(tmp_path: Path, section: str, named: str) -> None:
    text = FULL.replace(f"[{section}]\n", f"[{section}]\n{named} = 1\n") if section else f"{named} = 1\n{FULL}"
    with pytest.raises(Unsupported, match=rf"recipe\.toml.*unknown field '{named}'; expected ") as refused:
        recipe_of(options("--recipe", file(tmp_path, text)))
    assert (f".{section}:" in str(refused.value)) == bool(section)


@pytest.mark.parametrize(
    ("section", "name", "wrong", "expected"),
    [
        ("", "source", 3, "a str"),
        ("", "data", "goods", "a list"),
        ("", "targets", [1], "a str"),
        ("", "seed", 1.5, "an? int"),
        ("", "seed", True, "an? int"),
        ("", "budget", 1, "an object"),
        ("budget", "max_missed", "2%", "a float"),
        ("budget", "after", "bundle", "a list"),
        ("search", "workers", 1.5, "an? int"),
        ("search", "cache", ["a"], "a str"),
        ("input", "mean", 127, "a list"),
        ("input", "px", "224", "an? int"),
        ("input", "counterfeit_class", 1, "a str"),
    ],
)
def test_a_wrong_type_is_refused_by_name(section: str, name: str, wrong: object, expected: str) -> None:
    where = rf"build{'.' + section if section else ''}\.{name}"
    with pytest.raises(Unsupported, match=rf"^{where}.*: expected {expected}, got "):
        check_recipe(changed(section, **{name: wrong}), "build")


@pytest.mark.parametrize(
    ("section", "name", "wrong"),
    [
        *(("budget", "max_missed", value) for value in (0.0, -0.1, 1.01)),
        *(("budget", "max_missed_fraud", value) for value in (0.0, 1.5)),
        *(("budget", "confidence", value) for value in (0.0, 1.0, 1.2)),
        *(("budget", "max_review", value) for value in (0.0, 1.1)),
        *(("budget", "prevalence", value) for value in (-0.1, 1.0)),
        *(("budget", "certify_share", value) for value in (0.0, 2.0)),
        *(("search", "min_cosine", value) for value in (0.0, 1.1)),
        *(("search", "time_budget_s", value) for value in (0.0, -1.0)),
        *(("search", "max_size_mb", value) for value in (0.0, -1.0)),
        ("input", "mean", [1.0, 2.0]),
        ("input", "std", [1.0, 2.0, 0.0]),
        ("input", "std", [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(section: str, name: str, wrong: object) -> None:
    with pytest.raises(Unsupported, match=rf"^build: {section}\.{name}: expected "):
        check_recipe(changed(section, **{name: wrong}), "build")


@pytest.mark.parametrize(
    ("section", "name", "count", "expected"),
    [
        ("search", "calibration_photos", 7, "8 to "),
        ("search", "workers", 0, "1 to 256"),
        ("search", "workers", 100_000, "1 to 256"),
        ("input", "px", 0, "16 to 4096"),
        ("input", "px", 20_000, "16 to 4096"),
    ],
)
def test_a_count_out_of_its_range_is_refused_by_name(section: str, name: str, count: int, expected: str) -> None:
    with pytest.raises(Unsupported, match=rf"^build: {section}\.{name}: expected {expected}.*, got {count}$"):
        check_recipe(changed(section, **{name: count}), "build")


def test_a_name_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(Unsupported, match="the bundle's name"):
        check_recipe({**changed("budget"), "name": "../x y"}, "build")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("section", "name"), [("budget", "max_missed"), ("budget", "prevalence"), ("search", "min_cosine")]
)
def test_what_is_no_number_is_refused(section: str, name: str, bad: float) -> None:
    with pytest.raises(Unsupported, match=name):
        check_recipe(changed(section, **{name: bad}), "build")


def test_the_ends_of_the_ranges_are_allowed() -> None:
    budget = {"max_missed": 1.0, "max_missed_fraud": 1.0, "max_review": 1.0, "certify_share": 1.0, "prevalence": 0.0}
    found = check_recipe(changed("budget", **budget), "build")
    assert found.budget.max_review == 1.0
    assert check_recipe(changed("search", workers=1, calibration_photos=8, min_cosine=1), "build").search.workers == 1


@pytest.mark.parametrize("targets", [[], ["x86", "x86"], ["x86", "riscv"], ["X86"]])
def test_targets_are_distinct_ones_that_exist(targets: list[str]) -> None:
    with pytest.raises(Unsupported, match=r"^build: targets: expected distinct ones of x86, arm, openvino, .*, got "):
        check_recipe(changed("", targets=targets), "build")


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["--out", "b", "--data", "d"], "SOURCE is missing; give it, or 'source' in a recipe"),
        (["m", "--data", "d"], "--out BUNDLE is missing; give it, or 'out' in a recipe"),
        (["m", "--out", "b"], "give labelled items with --data, or inputs with --samples"),
    ],
)
def test_what_is_missing_is_said_with_how_to_give_it(arguments: list[str], missing: str) -> None:
    with pytest.raises(Unsupported) as refused:
        recipe_of(options(*arguments))
    assert str(refused.value) == f"build: {missing}"


@pytest.mark.parametrize("text", ["source = ", "[budget\n", "source = 'a'\nsource = 'b'\n"])
def test_text_that_is_no_toml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(Unsupported, match=r"recipe\.toml: expected TOML, got text that does not parse") as refused:
        read_recipe(Path(file(tmp_path, text)))
    assert "\n" not in str(refused.value)


def test_a_recipe_that_is_not_there_or_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="there is no such file"):
        read_recipe(tmp_path / "recipe.toml")
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Unsupported, match="expected TOML"):
        read_recipe(tmp_path / "recipe.toml")


def test_a_section_that_is_no_table_is_refused_also_under_a_flag(tmp_path: Path) -> None:
    path = file(tmp_path, 'source = "m"\nout = "b"\ndata = ["d"]\nbudget = 3\n')
    for more in ((), ("--max-missed", "0.1")):
        with pytest.raises(Unsupported, match=r"budget: expected (a table|an object), got 3"):
            recipe_of(options("--recipe", path, *more))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-missed", "0"],
        ["--max-missed", "1.5"],
        ["--confidence", "1"],
        ["--time-budget", "-1"],
        ["--max-size-mb", "0"],
        ["--prevalence", "nan"],
        ["--mean", "1", "2"],
    ],
)
def test_a_flag_out_of_its_range_is_refused_at_once(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        options("m", "--out", "b", "--data", "d", *arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err
