"""split: which samples are trained on and which are held out, by place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from geodecloud.errors import DataError, OptionError
from geodecloud.learn.packed import Flags, PackedChips

Samples = npt.NDArray[np.intp]

Folds = int | Sequence[int]
"""What is held out, by a table of splits: one fold or several."""


def split(
    packed: PackedChips, *, val_split_pct: float = 0.1, fold: Folds | None = None, seed: int = 42
) -> tuple[Samples, Samples]:
    """Return the samples to train on and to validate with; a place is never in both.

    With ``fold`` the table of splits decides, else places are drawn by seed until they hold
    ``val_split_pct`` of the samples: of each domain, where no sample has two sides. Samples that
    reach over from one part into the other are in neither. A ``val_split_pct`` of 0 holds nothing
    out: all samples are in both parts, and what is measured on them says nothing of other places.

    Raises:
        DataError: there is but one place, a fold is not there, or none is left to train on.
    """
    every = np.arange(len(packed))
    if fold is not None:
        asked, known = set(np.atleast_1d(fold).tolist()), set(packed.fold.tolist())
        if asked and asked < known:
            held_out = np.isin(packed.fold, list(asked))
            return every[~held_out], every[held_out]
        raise DataError(
            f"folds {sorted(asked)} to be held out",
            f"folds here are {sorted(known)}, and one at least is trained on",
            "choose of them, or pack with a table of splits",
        )
    if val_split_pct == 0:
        return every, every
    if not 0 < val_split_pct < 1:
        raise OptionError(
            f"val_split_pct is {val_split_pct}", "it is a share below 1, 0 for none", "try 0.1"
        )
    drawn = np.random.default_rng(seed).permutation(np.unique(packed.place))
    held = np.concatenate(
        [_held_out(packed, part, drawn, val_split_pct) for part in _domains(packed)]
    )
    is_train, is_valid = _apart(packed, np.isin(packed.place, held))
    return every[is_train], every[is_valid]


def split_chips(
    packed: PackedChips, *, val_split_pct: float = 0.1, seed: int = 42
) -> tuple[Samples, Samples]:
    """Return samples drawn one by one, so that neighbours stand on both sides.

    Figures are then better than the truth: this is there to repeat trainings that did so.
    """
    shuffled = np.random.default_rng(seed).permutation(len(packed))
    n_valid = min(len(packed) - 1, max(1, round(val_split_pct * len(packed))))
    return np.sort(shuffled[n_valid:]), np.sort(shuffled[:n_valid])


def _apart(packed: PackedChips, is_valid: Flags) -> tuple[Flags, Flags]:
    """The two parts without samples that could share a pixel: those that have a block in common.

    Where most of what is held out reaches over, as in small sets, the training part gives way.
    """
    held = packed.place[is_valid]
    is_train = ~is_valid & ~np.isin(packed.touches, held).any(1)
    trained = _places_of(packed, is_train)
    inside = is_valid & ~np.isin(packed.touches, trained).any(1)
    if 2 * inside.sum() >= is_valid.sum():
        return is_train, inside
    around = _places_of(packed, is_valid)
    is_near = np.isin(packed.place, around) | np.isin(packed.touches, around).any(1)
    return is_train & ~is_near, is_valid


def _places_of(packed: PackedChips, part: Flags) -> npt.NDArray[np.int32]:
    """The places that samples of a part lie in, wholly or with a corner."""
    touched = packed.touches[part]
    return np.union1d(packed.place[part], touched[touched >= 0])


def _domains(packed: PackedChips) -> list[Flags]:
    """The samples of each domain where no sample has both sides; else all of them."""
    source, target = packed.has("source"), packed.has("target")
    if source.any() and target.any() and not (source & target).any():
        return [source, target]
    return [np.ones(len(packed), bool)]


def _held_out(
    packed: PackedChips, part: Flags, drawn: npt.NDArray[np.int32], share: float
) -> npt.NDArray[np.int32]:
    """The first of the places drawn that hold this share of a part, though never all."""
    counts = np.bincount(packed.place[part], minlength=int(packed.place.max()) + 1)
    places = drawn[counts[drawn] > 0]
    if len(places) < 2:
        raise DataError(
            f"{packed.path} holds {part.sum()} samples of one place",
            "training and validation are split by place: two are needed",
            "give more scenes, or larger ones",
        )
    enough = int(np.searchsorted(np.cumsum(counts[places]), share * part.sum()))
    return places[: min(len(places) - 1, 1 + enough)]
