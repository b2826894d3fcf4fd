"""Job, JobResult, run_job: one scene to be done, on whatever machine; safe to repeat."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from geodecloud import __version__
from geodecloud.batch.catalog import (
    CLEAR,
    MASK,
    PROVENANCE,
    SPREAD,
    Made,
    is_done,
    record,
    sweep,
)
from geodecloud.batch.query import Bounds, Item
from geodecloud.errors import GeodecloudError, NetworkError, OutputError
from geodecloud.geo.assets import Asset, open_assets
from geodecloud.geo.excerpt import bounds_of, within
from geodecloud.geo.fetching import Fetcher, Network
from geodecloud.geo.links import redacted, redacted_text
from geodecloud.geo.publish import alone
from geodecloud.geo.scene import Scene
from geodecloud.geo.signing import signer_of
from geodecloud.models import DEFAULT_MODEL, load_packaged, load_translator, resolve_model
from geodecloud.options import DecloudOptions, DecloudResult
from geodecloud.run.baselines import BASELINES
from geodecloud.run.package import UNCERTAINTY, Package, open_package
from geodecloud.run.pictures import suited
from geodecloud.run.uncertain import UncertainTranslator
from geodecloud.tasks import decloud
from geodecloud.translator import Translator

Status = Literal["done", "skipped", "failed"]

_OUTSIDE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Source:
    """An item whose pixels are read: its id, its link and its assets."""

    id: str
    href: str
    assets: tuple[Asset, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what ``asdict`` has made of one."""
        assets = tuple(Asset.from_json(asset) for asset in content["assets"])
        return cls(content["id"], content["href"], assets)


@dataclass(frozen=True)
class Job:
    """One scene to be done: strings and numbers, so that it travels to any machine.

    Attributes:
        item: the STAC item, as JSON, whose metadata the result carries on.
        scene: its pixels.
        bands: that are taken of it.
        references, radar: what helps: other dates, and Sentinel-1 of about the same one.
        bounds: the part that is wanted; west, south, east, north in degrees.
        options: fields of ``DecloudOptions``.
        model_sha256: of the model's card: another model of the same name makes another job.
        uncertainty: write how far generated values may be off, where the model knows it.
        network: whom the job may ask for pixels.
        sign: a name in ``SIGNERS``: who signs links, each time one is asked for.
        retries: further attempts where the network, the disk or the unknown fails.
    """

    item: Item
    scene: Source
    bands: tuple[str, ...]
    references: tuple[Source, ...] = ()
    radar: Source | None = None
    bounds: Bounds | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    model_sha256: str = ""
    uncertainty: bool = False
    network: Network = field(default_factory=Network)
    sign: str | None = None
    retries: int = 0

    @property
    def id(self) -> str:
        """That of the item."""
        return str(self.item["id"])

    @property
    def collection(self) -> str:
        """That of the item, or "items"."""
        return str(self.item.get("collection") or "items")

    @property
    def folder(self) -> str:
        """Where its files go, below the output folder."""
        return f"{slug(self.collection)}/{slug(self.id)}"

    @property
    def digest(self) -> str:
        """SHA-256 of all that the result depends on; signatures of links and patience are not."""
        content = self.to_json()
        for name in ("network", "sign", "retries"):
            del content[name]
        content["version"] = __version__
        text = redacted_text(json.dumps(content, sort_keys=True))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the job as strings and numbers."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` has written."""
        radar = content["radar"]
        return cls(
            item=content["item"],
            scene=Source.from_json(content["scene"]),
            bands=tuple(content["bands"]),
            references=tuple(Source.from_json(each) for each in content["references"]),
            radar=None if radar is None else Source.from_json(radar),
            bounds=None if content["bounds"] is None else tuple(content["bounds"]),
            options=content["options"],
            model_sha256=content["model_sha256"],
            uncertainty=content["uncertainty"],
            sign=content["sign"],
            network=Network.from_json(content["network"]),
            retries=content["retries"],
        )


@dataclass(frozen=True)
class JobResult:
    """What became of a job; an error is a value here.

    Attributes:
        id, collection, folder: of the job.
        status: "done", "skipped" (it was done before, and its files are whole), or "failed".
        error: found, expected, todo and kind, where it failed.
        cloud_share, generated_share, observed_share: of the valid pixels; see ``DecloudResult``.
        model: by name.
        seconds: it took.
        attempts: it took.
        notes: what the user should know.
    """

    id: str
    collection: str
    folder: str
    status: Status
    error: Mapping[str, str] | None = None
    cloud_share: float = 0.0
    generated_share: float = 0.0
    observed_share: float = 0.0
    model: str = ""
    seconds: float = 0.0
    attempts: int = 1
    notes: tuple[str, ...] = ()

    @classmethod
    def of_failure(cls, job: Job, error: BaseException, attempts: int = 1) -> Self:
        """Return the result of a job that could not be done; nothing in it lets others in."""
        parts = {"kind": type(error).__name__, "found": "", "expected": "", "todo": ""}
        if isinstance(error, GeodecloudError):
            parts |= {"found": error.found, "expected": error.expected, "todo": error.todo}
        else:
            parts["found"] = (str(error).strip().splitlines() or ["no word of why"])[0][:300]
            parts |= {"expected": "an item is done without", "todo": "report it, with the item"}
        said = {name: redacted_text(text) for name, text in parts.items()}
        return cls(job.id, job.collection, job.folder, "failed", said, attempts=attempts)

    @property
    def message(self) -> str:
        """The error as one line; empty where there is none."""
        if self.error is None:
            return ""
        known = "{found}; {expected}: {todo}".format(**self.error)
        is_ours = self.error["todo"] != "report it, with the item"
        return known if is_ours else f"{self.error['kind']}: {known}"

    def to_json(self) -> dict[str, Any]:
        """Return the result as strings and numbers."""
        return {**asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` has written."""
        return cls(**{**content, "notes": tuple(content["notes"])})


def run_job(job: Job, out: str, n_threads: int | None = None) -> JobResult:
    """Do one scene; return what became of it, whatever happens.

    Safe to repeat and to kill: files appear whole, the item that describes them last, and what is
    done with the same options is left as it is.

    Args:
        job: what is done.
        out: the output folder, shared by all workers.
        n_threads: of the model; None takes every core.
    """
    start = time.monotonic()
    for attempt in range(1, job.retries + 2):
        try:
            result = _done(job, Path(out), n_threads)
            break
        except Exception as error:
            result = JobResult.of_failure(job, error, attempt)
            if isinstance(error, GeodecloudError) and not isinstance(
                error, NetworkError | OutputError
            ):
                break  # the next attempt would end the same
    return replace(result, seconds=round(time.monotonic() - start, 3), attempts=attempt)


def slug(name: str) -> str:
    """Return a name that is one folder's on any system; what had to change ends with a hash.

    Example:
        >>> slug("S2A_32TMT"), slug("../../etc")
        ('S2A_32TMT', 'etc-74ccf3c5')
    """
    plain = _OUTSIDE.sub("-", name).strip("-.")[:100]
    if plain == name:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def _done(job: Job, out: Path, n_threads: int | None) -> JobResult:
    folder = out / job.folder
    if not folder.resolve().is_relative_to(out.resolve()):
        raise OutputError(
            f"{folder} leads out of {out}", "items lie in the output folder", "remove the link"
        )
    if is_done(folder, job.digest):
        if (folder / ".lock").exists():  # its writer was killed after the last file
            with suppress(OutputError), alone(folder):
                pass
        return JobResult(job.id, job.collection, job.folder, "skipped")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder), ExitStack() as stack:
        sweep(folder)
        notes: list[str] = []
        package, result = _cleared(job, folder, stack, notes, n_threads)
        record(folder, out, Made(job.item, job.digest, result, _links(job), package))
    return JobResult(
        job.id,
        job.collection,
        job.folder,
        "done",
        cloud_share=result.cloud_share,
        generated_share=result.generated_share,
        observed_share=result.observed_share,
        model=result.model,
        notes=tuple(redacted_text(note) for note in (*notes, *result.notes)),
    )


def _cleared(
    job: Job, folder: Path, stack: ExitStack, notes: list[str], n_threads: int | None
) -> tuple[Package | None, DecloudResult]:
    """Write the rasters of a job; return the model and what it has done."""
    scene = _opened(job.scene, job, stack, notes, job.bounds)
    scene = scene.select([name for name in scene.sensor.band_names if name in job.bands])
    bounds = job.bounds if scene.geobox.crs is None else bounds_of(scene.geobox)
    helpers = [_opened(each, job, stack, notes, bounds) for each in job.references]
    radar = _opened(job.radar, job, stack, notes, bounds) if job.radar else None
    package, translator = _translator(job, scene, n_threads)
    is_spread_known = _knows_spread(job, package)
    if not is_spread_known:
        (folder / SPREAD).unlink(missing_ok=True)  # of a job with other options
    if job.uncertainty and not is_spread_known:
        notes.append(f"no uncertainty: {translator.name} does not say how uncertain it is")
    return package, decloud(
        scene,
        folder / CLEAR,
        DecloudOptions(**job.options),
        model=translator,
        references=helpers,
        sar=radar,
        provenance=folder / PROVENANCE,
        uncertainty=folder / SPREAD if is_spread_known else None,
        mask_out=folder / MASK,
        overwrite=True,
    )


def _links(job: Job) -> list[tuple[str, str]]:
    """Links and titles of the items that a job reads."""
    titled = [(job.scene, "scene"), *((each, "reference") for each in job.references)]
    if job.radar is not None:
        titled.append((job.radar, "radar"))
    return [(redacted(source.href), f"{what}: {source.id}") for source, what in titled]


def _opened(
    source: Source, job: Job, stack: ExitStack, notes: list[str], bounds: Bounds | None
) -> Scene:
    fetcher = Fetcher(job.network, sign=signer_of(job.sign, job.network))
    scene = stack.enter_context(open_assets(source.assets, fetcher, notes=notes))
    return scene if bounds is None or scene.geobox.crs is None else within(scene, bounds)


def _translator(job: Job, scene: Scene, n_threads: int | None) -> tuple[Package | None, Translator]:
    """What does the work, and the package it comes from."""
    options = DecloudOptions(**job.options)
    model = resolve_model(options.model, scene)
    if job.references and options.model == DEFAULT_MODEL:
        model = "fill"  # what other dates saw is drawn on, as ``decloud`` has it
    if not isinstance(model, str | Path) or str(model) in BASELINES:
        return None, load_translator(model, scene, options.device)
    package = open_package(model)
    sha256 = hashlib.sha256(package.card.model_dump_json().encode()).hexdigest()

    def loaded(direction: str | None) -> Translator:
        return _loaded(str(package.folder), sha256, options.device, n_threads, direction)

    answers = loaded(None)
    if _knows_spread(job, package):
        answers = UncertainTranslator(answers, loaded(UNCERTAINTY))
    return package, suited(answers, scene.sensor)


def _knows_spread(job: Job, package: Package | None) -> bool:
    """Whether the uncertainty that is asked for can be had."""
    return job.uncertainty and package is not None and package.card.uncertainty is not None


@lru_cache(maxsize=4)
def _loaded(
    folder: str,
    sha256: str,
    device: Literal["auto", "cpu", "cuda"],
    n_threads: int | None,
    direction: str | None,
) -> Translator:
    """A trained model, once in each process; ``sha256`` of its card tells it from its namesake."""
    return load_packaged(folder, device, direction=direction, n_threads=n_threads)
