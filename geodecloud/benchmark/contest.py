"""run_suite: every contestant on every case of a suite, and what it comes to, in JSON's types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geodecloud.benchmark.archive import Archive
from geodecloud.benchmark.averages import MEASURES, Tally, without_missing
from geodecloud.benchmark.case import Case, Floats
from geodecloud.benchmark.contestants import SINGLE_IMAGE, Contestant
from geodecloud.benchmark.drafts import Draft
from geodecloud.benchmark.measures import (
    Spectra,
    grid_figures,
    is_untouched,
    rounded,
    spectra_of,
    sums_of,
)
from geodecloud.benchmark.models import TrainedModel, untaught
from geodecloud.benchmark.suites import Suite
from geodecloud.errors import DataError
from geodecloud.progress import Listener, Progress, silent

GRID_CASES = 3
"""Cases on which models are drawn on two tile grids: each costs several more answers."""

COMPARED = ("masked", "thin", "thick", "shadow")
"""Regions whose difference to the best baseline is given with its interval."""

Seen = Callable[[Case, Mapping[str, Floats]], None]


@dataclass
class _Extras:
    """What is kept of a contestant beside the sums of its regions."""

    seconds: float = 0.0
    n_untouched: int = 0
    spectra: dict[str, Spectra] = field(default_factory=dict)
    grids: list[dict[str, float]] = field(default_factory=list)

    def spectrum_db(self) -> float:
        return without_missing([each.distance_db for each in self.spectra.values()])

    def grid(self, name: str) -> float:
        return without_missing([each[name] for each in self.grids])


def tables_of(
    suite: Suite, archive: Archive, models: Sequence[TrainedModel]
) -> list[list[TrainedModel]]:
    """Return the models of each table of a suite: the first one has the most places.

    A table shows the same cases in all its rows. Where models are new to different places there
    is one for each such set of places, with all models that are new to the whole of it.
    """
    suiting = [model for model in models if model.suits(suite)]
    places = {draft.place for draft in suite.drafts(archive)}
    new_to = {model.name: frozenset(untaught(model, places)) for model in suiting}
    extents = sorted({extent for extent in new_to.values() if extent}, key=len, reverse=True)
    if not extents:
        return [suiting]
    nowhere_new = [model for model in suiting if not new_to[model.name]]
    tables = [[each for each in suiting if new_to[each.name] >= extent] for extent in extents]
    return [[*tables[0], *nowhere_new], *tables[1:]]


def run_suite(
    suite: Suite,
    archive: Archive,
    models: Sequence[TrainedModel],
    *,
    limit: int | None = None,
    drawn_twice: Collection[str] = (),
    on_progress: Listener = silent,
    on_case: Seen = lambda case, answers: None,
) -> dict[str, Any]:
    """Return the figures of a suite; one case is in memory at a time.

    All rows are measured on the same cases: those of places that taught none of the models that
    suit the suite. A model that was taught by every place is left out, and a note says so.

    Args:
        suite: what is measured.
        archive: the real scenes.
        models: those that suit the suite take part.
        limit: cases, from all places alike; None takes all.
        drawn_twice: names of the models that are also drawn on two tile grids, on some cases.
        on_progress: told after each case; raises ``Cancelled`` to stop.
        on_case: shown each case with all answers, such as to draw a picture.

    Raises:
        InputError: scenes are missing or damaged.
        DataError: there is no case.
    """
    every = suite.drafts(archive)
    taking_part, notes, drafts = _parted(suite, models, every)
    has_others = len({draft.place for draft in drafts}) > 1
    contestants = [
        # rows that know other places: where one alone is left, those that taught the models
        *suite.baselines(drafts if has_others else every),
        *(row for model in taking_part for row in model.contestants(uses_fill=not suite.source)),
    ]
    tally, extras = Tally(), {each.name: _Extras() for each in contestants}
    n_pixels, total = 0, min(len(drafts), limit or len(drafts))
    for done, draft in enumerate(_place_by_place(drafts)):
        if len(tally.places) == total:
            break
        on_progress(Progress(min(done, total), total, suite.name))
        case = draft.make()
        if case is None:
            continue
        n_pixels += case.mask.size
        answers = _answered(case, contestants, tally, extras)
        for model in taking_part if len(tally.places) <= GRID_CASES else ():
            if model.name in drawn_twice:
                extras[model.name].grids.append(_on_two_grids(model, case))
        on_case(case, answers)
    on_progress(Progress(total, total, suite.name))
    if not tally.places:
        raise DataError(
            f"suite {suite.name} has no case",
            "each place was seen by a model, or is too cloudy",
            "choose other models or suites",
        )
    rows = [_row(each, tally, extras[each.name], n_pixels) for each in contestants]
    return _result(suite, tally, rows, notes)


def _parted(
    suite: Suite, models: Sequence[TrainedModel], drafts: list[Draft]
) -> tuple[list[TrainedModel], list[str], list[Draft]]:
    """The models that take part, what is to be said of the others, and the cases new to all."""
    places = {draft.place for draft in drafts}
    taking_part: list[TrainedModel] = []
    notes: list[str] = []
    for model in models:
        if not model.suits(suite):
            continue
        left = places & untaught(model, places)
        if left:
            places, taking_part = left, [*taking_part, model]
        else:
            notes.append(f"{model.name} is left out: every place here taught it, or another model")
    return taking_part, notes, [draft for draft in drafts if draft.place in places]


def _place_by_place(drafts: Sequence[Draft]) -> list[Draft]:
    """The first draft of every place, then the second of each, and so on: a limit cuts evenly."""
    seen: Counter[str] = Counter()
    ranks = []
    for number, draft in enumerate(drafts):
        ranks.append((seen[draft.place], number))
        seen[draft.place] += 1
    return [drafts[number] for _, number in sorted(ranks)]


def _answered(
    case: Case, contestants: Sequence[Contestant], tally: Tally, extras: dict[str, _Extras]
) -> dict[str, Floats]:
    answers, sums = {}, {}
    for contestant in contestants:
        answer, seconds = contestant.answer(case)
        answers[contestant.name], sums[contestant.name] = answer, sums_of(answer, case)
        kept = extras[contestant.name]
        kept.seconds += seconds
        kept.n_untouched += is_untouched(answer, case)
        spectra = spectra_of(answer, case)
        before = kept.spectra.get(case.place)
        kept.spectra[case.place] = spectra if before is None else before.plus(spectra)
    tally.add(case.place, sums)
    return answers


def _on_two_grids(model: TrainedModel, case: Case) -> dict[str, float]:
    first, side_px = model.by_tiles(case)
    second, _ = model.by_tiles(case, is_moved=True)
    return grid_figures((first, second), case, side_px)


def _row(contestant: Contestant, tally: Tally, kept: _Extras, n_pixels: int) -> dict[str, Any]:
    name = contestant.name
    figures: dict[str, Any] = {}
    for region in tally.regions:
        figures[region] = {kind: tally.figure(name, region, kind) for kind in MEASURES}
        figures[region]["psnr_interval"] = tally.interval(name, region, "psnr")
    return {
        "name": name,
        "kind": contestant.kind,
        "n_parameters": contestant.n_parameters,
        "seconds_per_megapixel": 1e6 * kept.seconds / n_pixels,
        "untouched_share": kept.n_untouched / len(tally.places),
        "spectrum_db": kept.spectrum_db(),
        "seam_index": kept.grid("seam_index"),
        "shifted_grid_psnr": kept.grid("shifted_grid_psnr"),
        "regions": figures,
        "psnr_masked_by_place": tally.by_place(name, "masked", "psnr"),
    }


def _result(
    suite: Suite, tally: Tally, rows: list[dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    for region in (region for region in COMPARED if region in tally.regions):
        best = _best(rows, region)
        for row in rows:
            figures = row["regions"][region]
            low_high = tally.interval(row["name"], region, "psnr", best)
            figures["psnr_over"] = {
                "baseline": best,
                "difference": figures["psnr"] - tally.figure(best, region, "psnr"),
                "interval": low_high,
            }
    n_cases = {place: tally.places.count(place) for place in dict.fromkeys(tally.places)}
    return {
        "suite": suite.name,
        "about": suite.about,
        "unit": suite.unit,
        "bands": list(suite.bands),
        "n_cases": n_cases,
        "notes": notes,
        "rows": rounded(rows),
    }


def _best(rows: Sequence[dict[str, Any]], region: str) -> str:
    """The single-image baseline with the highest PSNR in a region."""
    known = [
        (row["regions"][region]["psnr"], row["name"])
        for row in rows
        if row["kind"] == SINGLE_IMAGE and np.isfinite(row["regions"][region]["psnr"])
    ]
    return str(max(known)[1])
