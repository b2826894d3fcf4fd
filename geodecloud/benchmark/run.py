"""run_benchmark: suites, models and pictures, from options to figures and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geodecloud import __version__
from geodecloud.benchmark.archive import Archive
from geodecloud.benchmark.averages import DRAWS, SEED
from geodecloud.benchmark.case import Case, Floats
from geodecloud.benchmark.contest import run_suite, tables_of
from geodecloud.benchmark.contestants import has_opencv
from geodecloud.benchmark.measures import rounded
from geodecloud.benchmark.models import TrainedModel, places_of, shipped_models
from geodecloud.benchmark.page import page_of
from geodecloud.benchmark.perception import FeatureGallery
from geodecloud.benchmark.sheet import Sheet
from geodecloud.benchmark.suites import SUITES
from geodecloud.benchmark.zurich import NAME as ZURICH
from geodecloud.benchmark.zurich import zurich_sheet
from geodecloud.errors import OptionError
from geodecloud.geo.publish import publish, refuse_existing
from geodecloud.progress import Listener, silent

SHOWN = {
    "synthetic": "Clear windows under known skies, the mask outlined, and what is drawn there.",
    "real-pairs": "Real pairs; the truth is another date.",
    "multidate": "One place under known skies, with another date to fill from.",
    ZURICH: "Zurich, 30 May 2019: what lies beneath is not known.",
}
"""Suites whose cases are shown, and the words under the picture."""

ATTRIBUTION = (
    "Contains modified Copernicus Sentinel data; SEN12MS-CR (Ebel et al. 2020) and SEN12MS-CR-TS "
    "(Ebel et al. 2022), CC BY 4.0."
)

BASELINES_SHOWN = ("fill", "gain and offset", "other date, harmonised")

PICTURES = "figures/benchmark"
"""Where pictures go, beside the page."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured, and what is written.

    Attributes:
        suites: names of ``SUITES``; none takes all that need no model, and those of the models.
        models: NAME, PATH or NAME=PATH,PATH each; none takes those shipped.
        folds: a folder of packages, ``<name>/<fold>``, that answer for the models so named, each
            for places that did not teach it.
        splits: the table of places and folds; None takes ``splits.json`` of the data.
        limit: windows of each suite.
        feature_weights: of an Inception v3, for the FID.
        out: the page in Markdown; pictures go into ``figures/`` beside it.
        command: what the page says it was written by.
        overwrite: replace files that exist.
    """

    suites: Sequence[str] = ()
    models: Sequence[str] = ()
    folds: Path | None = None
    splits: Path | None = None
    limit: int | None = None
    feature_weights: Path | None = None
    out: Path | None = None
    command: str = "geodecloud benchmark"
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse suites that are not there."""
        if unknown := [name for name in self.suites if name not in SUITES]:
            raise OptionError(
                f"no suite {', '.join(unknown)}", f"there are {', '.join(SUITES)}", "name these"
            )


@dataclass
class _Pictures:
    """The sheets of a page, in its order."""

    columns: Sequence[str]
    sheets: dict[str, Sheet] = field(default_factory=dict)

    def of(self, suite: str) -> Sheet:
        return self.sheets.setdefault(suite, Sheet(self.columns))

    def drawn(self) -> dict[str, Sheet]:
        return {name: sheet for name, sheet in self.sheets.items() if len(sheet)}


def run_benchmark(
    data: Path,
    options: BenchmarkOptions,
    *,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Listener = silent,
) -> dict[str, Any]:
    """Return the figures of all suites, in JSON's types; write the page where one is asked for.

    Raises:
        InputError: scenes are missing or damaged.
        DataError: the table of splits cannot be read, or a suite has no case.
        ModelError: a model is unknown or damaged.
        OutputError: the page exists, or cannot be written.
        MissingExtraError: pictures want matplotlib, the FID torchvision.
    """
    archive = Archive.open(data, options.splits)
    if options.out is not None:
        refuse_existing(options.out, options.overwrite)
    models = _models(options, on_note)
    if not has_opencv():
        on_note("OpenCV is not installed: Telea's inpainting is left out")
    pictures = _Pictures([*BASELINES_SHOWN, *(model.name for model in models)])
    results = []
    for found in _measured(archive, models, options, pictures, on_progress):
        results.append(found)
        for note in found["notes"]:
            on_note(f"{found['suite']}: {note}")
    if options.out is not None:
        four_bands = [model for model in models if model.suits(SUITES["synthetic"])]
        zurich = zurich_sheet(archive, four_bands, on_progress)
        if zurich is not None:
            pictures.sheets[ZURICH] = zurich
        _write(options, results, models, pictures.drawn())
    return {
        "geodecloud": __version__,
        "bootstrap": {"draws": DRAWS, "seed": SEED},
        "models": {model.name: said_of(model) for model in models},
        "suites": results,
    }


def _models(options: BenchmarkOptions, on_note: Callable[[str], None]) -> list[TrainedModel]:
    """The models that some suite asks, each by a name of its own."""
    models = []
    for text in options.models or shipped_models():
        model = TrainedModel.parse(text, options.folds)
        if any(model.suits(suite) for suite in SUITES.values()):
            models.append(model)
        elif options.models:
            on_note(f"{model.name} is left out: no suite has what it looks at, or asks its bands")
    names = [model.name for model in models]
    if twice := {name for name in names if names.count(name) > 1}:
        raise OptionError(
            f"two models named {', '.join(sorted(twice))}",
            "each row has a name of its own",
            "name them: --models NAME=PATH",
        )
    return models


def _measured(
    archive: Archive,
    models: Sequence[TrainedModel],
    options: BenchmarkOptions,
    pictures: _Pictures,
    on_progress: Listener,
) -> Iterator[dict[str, Any]]:
    """The figures of one suite after the other."""
    weights = options.feature_weights
    gallery = None if weights is None else FeatureGallery.read(weights)
    not_yet = {model.name for model in models}
    for name in options.suites or _with_rows(models):
        tables = tables_of(SUITES[name], archive, models)
        for taking_part in tables:
            # pictures are those of the last table, in which most models answer
            sheet = pictures.of(name) if name in SHOWN and taking_part is tables[-1] else None
            found = run_suite(
                SUITES[name], archive, taking_part, limit=options.limit, drawn_twice=not_yet,
                on_progress=on_progress, on_case=_shown_to(gallery, sheet),
            )  # fmt: skip
            beside = [model.name for model in taking_part if model not in tables[0]]
            found["where_new"] = beside
            # seams are the model's, not the suite's: one look at its tiles is enough
            not_yet -= {row["name"] for row in found["rows"]}
            if gallery is not None:
                distances = gallery.close()
                for row in found["rows"]:
                    row["fid"] = rounded(distances[row["name"]])
            yield found


def _shown_to(
    gallery: FeatureGallery | None, sheet: Sheet | None
) -> Callable[[Case, Mapping[str, Floats]], None]:
    """Who looks at each case and its answers."""
    lookers = [each.add for each in (gallery, sheet) if each is not None]

    def look(case: Case, answers: Mapping[str, Floats]) -> None:
        for looker in lookers:
            looker(case, answers)

    return look


def _with_rows(models: Sequence[TrainedModel]) -> list[str]:
    """The suites that are run unasked: some of them only where a model is there for them."""
    return [
        name
        for name, suite in SUITES.items()
        if not suite.waits_for_model or any(model.suits(suite) for model in models)
    ]


def said_of(model: TrainedModel) -> str:
    """Return how a model was trained, as far as it matters for its figures."""
    parts = []
    for package in model.packages:
        training, places = package.card.training, places_of(package)
        folds = training.get("held_out_fold", [])
        taught = "places its card does not name" if places is None else f"{len(places)} places"
        named = ", ".join(map(str, folds if isinstance(folds, list) else [folds]))
        held = f", held out: {named}" if named else ""
        parts.append(f"taught by {taught}{held}")
    weight = model.packages[0].card.training.get("gan_weight")
    adversary = {None: "", 0: "; without an adversary"}.get(weight, "; with an adversary")
    size = f"{model.n_parameters / 1e6:.1f} million parameters"
    return f"{size}; {' / '.join(dict.fromkeys(parts))}{adversary}"


def _write(
    options: BenchmarkOptions,
    results: Sequence[dict[str, Any]],
    models: Sequence[TrainedModel],
    sheets: dict[str, Sheet],
) -> None:
    """Write the pictures, then the page that shows them."""
    assert options.out is not None
    encoded = {name: sheet.encoded() for name, sheet in sheets.items()}
    lines = []
    for name, picture in encoded.items():
        path = options.out.parent / f"{PICTURES}-{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        publish(path, picture, overwrite=True)
        words = f"{SHOWN[name]} {ATTRIBUTION}"
        lines.append(f"![{SHOWN[name]}]({PICTURES}-{name}.jpg)\n\n*{words}*")
    said = {model.name: said_of(model) for model in models}
    page = page_of(results, command=options.command, models=said, pictures=lines)
    publish(options.out, page.encode(), overwrite=options.overwrite)
