"""run: items of a catalog in, scenes without clouds and a catalog of them out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from shapely.errors import ShapelyError
from shapely.geometry import box

from geodecloud.batch.catalog import write_catalog
from geodecloud.batch.conventions import USUAL_BANDS, band_names, choose_assets
from geodecloud.batch.engines import Workers
from geodecloud.batch.jobs import Job, JobResult, Source
from geodecloud.batch.pairing import REFERENCE_DAYS, clearest_dates, nearest_radar
from geodecloud.batch.query import Bounds, Item, Query
from geodecloud.batch.stac import find_items
from geodecloud.errors import GeodecloudError, InputError, OptionError, OutputError
from geodecloud.geo.fetching import Fetcher, Network
from geodecloud.geo.links import Reach, is_file, reach_of
from geodecloud.geo.radiometry import SENTINEL1, known_name
from geodecloud.geo.signing import signer_of
from geodecloud.models import DEFAULT_MODEL
from geodecloud.options import DecloudOptions
from geodecloud.progress import Listener, Progress, silent
from geodecloud.run.baselines import BASELINES
from geodecloud.run.package import open_package
from geodecloud.run.uncertain import check_uncertainty, without_uncertainty

MAX_ITEMS = 100_000
MAX_NOTES = 20
"""On items, that are told aloud; the report holds them all."""

TRAVELLING = frozenset(
    {"model", "mask", "detector", "dilate_m", "specks_m2", "holes_m2", "shadows", "feather_m",
     "max_cloud", "halo", "tile_size_px", "batch_size", "device"}
)  # fmt: skip
"""Fields of ``DecloudOptions`` that a batch takes; the others are one scene's own."""

# What comes of assets that are described by other kinds of values than STAC has.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, ShapelyError)

Note = Callable[[str], None]


def _unheard(_: Any) -> None:
    pass


@dataclass(frozen=True)
class BatchOptions:
    """How the items of a catalog are done.

    Attributes:
        decloud: fields of ``DecloudOptions`` by name, of those in ``TRAVELLING``.
        bands: taken of each item; None takes the model's, or those of 10 m.
        reference: "auto" fills clouds from the clearest items of the same place within 60 days.
        sar_collection: radar for models that look at it, paired by place and date.
        sar_days: that may lie between a scene and its radar.
        uncertainty: write how far generated values may be off: None, where the model knows it;
            True, and refuse a named model that does not; False never.
        retries: further attempts at an item where the network, the disk or the unknown fails.
        sign: whose signature links need, such as "planetary-computer"; see ``SIGNERS``.
        allow_local: links of a catalog on a server may lead to this disk and network.
        network: how patient the program is with servers; its reach is set by the catalog's own.
        token: shown to the catalog's server alone, as ``Authorization: Bearer``.
    """

    decloud: Mapping[str, Any] = field(default_factory=dict)
    bands: Sequence[str] | None = None
    reference: Literal["none", "auto"] = "none"
    sar_collection: str | None = None
    sar_days: float = 3.0
    uncertainty: bool | None = None
    retries: int = 2
    sign: str | None = None
    allow_local: bool = False
    network: Network = field(default_factory=Network)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what makes no sense, before any search."""
        if unknown := set(self.decloud) - TRAVELLING:
            raise OptionError(
                f"options {', '.join(sorted(unknown))}",
                f"a batch takes {', '.join(sorted(TRAVELLING))}",
                "leave them out, or use decloud on one scene",
            )
        DecloudOptions(**self.decloud)
        signer_of(self.sign, self.network)
        if not 0 <= self.retries <= 100:
            raise OptionError(f"retries is {self.retries}", "0 to 100", "try 2")
        if not 0 <= self.sar_days <= 366:
            raise OptionError(f"sar_days is {self.sar_days}", "0 to 366", "try 3")


@dataclass(frozen=True)
class Report:
    """What became of a batch.

    Attributes:
        results: one a job, in the order of their ids.
        n_items: in the output's catalog, earlier runs included.
    """

    results: tuple[JobResult, ...]
    n_items: int

    @property
    def failed(self) -> tuple[JobResult, ...]:
        """Those that could not be done."""
        return tuple(result for result in self.results if result.status == "failed")

    def to_json(self) -> dict[str, Any]:
        """Return the report as strings and numbers."""
        counts = dict.fromkeys(("done", "skipped", "failed"), 0)
        for result in self.results:
            counts[result.status] += 1
        items = [result.to_json() for result in self.results]
        return {**counts, "n_items": self.n_items, "items": items}


def run(
    stac: str | Path,
    out: str | Path,
    query: Query | None = None,
    options: BatchOptions | None = None,
    workers: Workers | None = None,
    *,
    on_note: Note = _unheard,
    on_progress: Listener = silent,
) -> Report:
    """Remove the clouds of all items of a catalog that are wanted; return what became of each.

    Below ``out`` lie one folder an item, with its files and the STAC item that describes them,
    ``catalog.json`` and ``items.parquet``. What is done with the same options is left as it is:
    a run that was stopped, or killed, goes on where it was.

    Args:
        stac: a STAC API, a static catalog, a file with items (JSON or stac-geoparquet), or an
            item: a URL or a path.
        out: the output folder.
        query: which items; None takes all of a file or a static catalog.
        options: how they are done.
        workers: who does them.
        on_note: told what the user should know, of items at the end.
        on_progress: told of each item that ends; raises ``Cancelled`` to stop.

    Raises:
        NetworkError: the catalog does not answer as it should.
        InputError: it is none, or holds nothing that is wanted.
        OptionError, ModelError, OutputError: as ``decloud``.

    Example:
        >>> from geodecloud.batch import Query, run                       # doctest: +SKIP
        >>> run("catalog.json", "clear", Query(datetime="2026-06")).failed   # doctest: +SKIP
        ()
    """
    options, workers = options or BatchOptions(), workers or Workers()
    place = Path(out).absolute()
    _prepare(place)
    jobs, results = plan(stac, query, options, on_note=on_note)
    total = len(jobs) + len(results)
    on_progress(Progress(len(results), total, "items"))
    for result in workers.run(jobs, str(place)):
        results.append(result)
        on_progress(Progress(len(results), total, "items"))
    ordered = sorted(results, key=lambda result: (result.collection, result.id))
    for text in _gathered(ordered):
        on_note(text)
    return Report(tuple(ordered), write_catalog(place))


def plan(
    stac: str | Path,
    query: Query | None = None,
    options: BatchOptions | None = None,
    *,
    on_note: Note = _unheard,
) -> tuple[list[Job], list[JobResult]]:
    """Return the jobs that ``run`` would do, and what fails before it begins.

    Raises:
        As ``run``.
    """
    source, query, options = str(stac), query or Query(), options or BatchOptions()
    reach = Reach.FILES if options.allow_local else reach_of(source)
    network = Network(**{**asdict(options.network), "reach": int(reach)})
    origin = "" if is_file(source) else source
    secrets = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    sign = signer_of(options.sign, network)
    fetcher = Fetcher(network, secrets=secrets, origin=origin, sign=sign)
    on_note = _once(on_note)
    needs = _Needs.of(options, on_note)
    items: list[Item] = []
    for item in find_items(source, query, fetcher, on_note):
        items.append(item)
        if len(items) > MAX_ITEMS:
            raise InputError(
                f"more than {MAX_ITEMS} items", "a batch has an end", "narrow the search"
            )
    if not items:
        raise InputError(
            "no item of the catalog is wanted", "at least one", "widen the search, or check ids"
        )

    def searched(wanted: Query) -> list[Item]:
        return list(find_items(source, wanted, fetcher, on_note))

    others = searched(query.around(items, REFERENCE_DAYS)) if options.reference == "auto" else []
    radar: list[Item] = []
    if needs.sar_collection is not None:
        radar = searched(query.around(items, options.sar_days, [needs.sar_collection]))
    jobs, failures = [], []
    for item in items:
        job = _bare(item, query.bounds, options, needs, network)
        try:
            jobs.append(_filled(job, item, needs, others, radar))
        except (GeodecloudError, *_MALFORMED) as error:
            failures.append(JobResult.of_failure(job, error))
    return jobs, failures


@dataclass(frozen=True)
class _Needs:
    """What the jobs of a batch need of their items.

    Attributes:
        bands: by the user's word or the model's; None where the items decide.
        sar_collection: where the model looks at radar.
        sar_days: as asked.
        model_sha256: of the model's card; empty for what is chosen scene by scene.
        uncertainty: is to be written where the model knows it.
    """

    bands: tuple[str, ...] | None
    sar_collection: str | None
    sar_days: float
    model_sha256: str
    uncertainty: bool

    @classmethod
    def of(cls, options: BatchOptions, on_note: Note) -> _Needs:
        model = str(options.decloud.get("model", DEFAULT_MODEL))
        bands = None
        if options.bands is not None:
            bands = tuple(known_name(name) or name.strip() for name in options.bands)
        is_guided, sha256 = False, ""
        is_spread_known = model not in BASELINES  # of "auto" each scene tells
        if options.uncertainty and not is_spread_known:
            raise without_uncertainty(model)
        if model != DEFAULT_MODEL and model not in BASELINES:
            package = open_package(model)
            card, way = package.card, package.card.directions[0]
            if options.uncertainty:
                check_uncertainty(package)
            is_spread_known = card.uncertainty is not None
            bands = bands or way.bands_in
            is_guided = "sar" in way.inputs
            sha256 = hashlib.sha256(card.model_dump_json().encode()).hexdigest()
        if options.sar_collection is not None and not is_guided:
            on_note(f"the model {model} does not look at radar: --sar-collection changes nothing")
        if is_guided and options.sar_collection is None:
            raise OptionError(
                f"{model} looks at radar, and there is none",
                "a collection of Sentinel-1 beside the scenes",
                "pass --sar-collection, or choose another model",
            )
        collection = options.sar_collection if is_guided else None
        is_spread_wanted = is_spread_known and options.uncertainty is not False
        return cls(bands, collection, options.sar_days, sha256, is_spread_wanted)


def _gathered(results: Sequence[JobResult]) -> Iterator[str]:
    """What is to be known of items, each thing once, with the item or their number."""
    told: dict[str, list[str]] = {}
    for result in results:
        for note in result.notes:
            told.setdefault(note, []).append(result.id)
    usual_first = sorted(told.items(), key=lambda entry: -len(entry[1]))
    for note, ids in usual_first[:MAX_NOTES]:
        yield f"{ids[0] if len(ids) == 1 else f'{len(ids)} items'}: {note}"
    if len(told) > MAX_NOTES:
        yield f"{len(told) - MAX_NOTES} further notes on items are in the report alone"


def _once(on_note: Note) -> Note:
    """Tell each thing once, however often it comes up."""
    told = set[str]()

    def tell(text: str) -> None:
        if text not in told:
            told.add(text)
            on_note(text)

    return tell


def _bare(
    item: Item, bounds: Bounds | None, options: BatchOptions, needs: _Needs, network: Network
) -> Job:
    """A job that knows no pixels yet."""
    plain = {key: item.get(key) for key in ("id", "collection", "geometry", "bbox", "properties")}
    return Job(
        item=plain,
        scene=Source(str(item["id"]), "", ()),
        bands=(),
        bounds=bounds,
        options=dict(options.decloud),
        model_sha256=needs.model_sha256,
        uncertainty=needs.uncertainty,
        network=network,
        sign=options.sign,
        retries=options.retries,
    )


def _filled(
    job: Job, item: Item, needs: _Needs, others: Sequence[Item], radar: Sequence[Item]
) -> Job:
    """The job with its pixels, and with those that help."""
    there = band_names(item)
    bands = needs.bands or tuple(name for name in USUAL_BANDS if name in there) or USUAL_BANDS
    area = None if job.bounds is None else box(*job.bounds)
    near = None
    if needs.sar_collection is not None:
        near = nearest_radar(item, radar, needs.sar_days, area)
        if near is None:
            raise InputError(
                f"no item of {needs.sar_collection} lies within {needs.sar_days:g} days",
                "the model looks at radar of about the same date",
                "raise --sar-days, or choose another model",
            )
    return replace(
        job,
        scene=_source(item, bands, ["SCL"]),
        bands=(*bands, "SCL"),
        references=_usable(clearest_dates(item, others, area), bands),
        radar=None if near is None else _source(near, _polarisations(near)),
    )


def _usable(items: Iterable[Item], bands: Sequence[str]) -> tuple[Source, ...]:
    """Those of other dates that have the bands."""
    found = (item for item in items if set(bands) <= band_names(item))
    return tuple(_source(item, bands, ["SCL"]) for item in found)


def _polarisations(item: Item) -> list[str]:
    return [name for name in SENTINEL1 if name in band_names(item)] or ["VV"]


def _source(item: Item, bands: Sequence[str], optional: Sequence[str] = ()) -> Source:
    href = next((link["href"] for link in item["links"] if link.get("rel") == "self"), "")
    return Source(str(item["id"]), str(href), choose_assets(item, bands, optional=optional))


def _prepare(out: Path) -> None:
    """Refuse, before any search, a folder that cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".geodecloud.part"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"folder {out} cannot be written: {error.strerror}",
            "a folder that can be made and written",
            "choose another folder",
        ) from error
