"""The plan of the house, kept: who imports whom, and what stands in one place only.

Everything is read from the syntax tree, imports inside functions included, so that a rule holds
for code that no test runs. Each rule also meets a source that breaks it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Imports run downwards only: a room imports the rooms named beside it, and itself.
# Of `run`, `learn` knows how models are kept: one schema for who writes and for who reads.
KEPT = "run.package run.files run.exchange run.mlm run.deepness"
HALL = "errors progress geo sky translator paste pipeline"
ROOMS = {
    "errors": "",
    "progress": "",
    "geo": "errors progress",
    "sky": "errors progress",
    "translator": "errors",
    "paste": "errors geo translator",
    "guides": "errors geo translator",
    "pipeline": "errors progress geo sky translator paste",
    "reading": "geo",
    # three that stand beside the road
    "metrics": "errors geo",
    "picture": "errors geo",
    "compare": f"{HALL} metrics picture",
    "run": HALL,
    "mask_grammar": "errors",
    "masking": f"{HALL} run mask_grammar",
    "learn": f"{HALL} metrics picture {KEPT} guides masking",
    "clouding": f"{HALL} masking reading",
    "chipping": f"{HALL} masking",
    "models": f"{HALL} run learn",
    "dates": f"{HALL} masking",
    "options": f"{HALL} run mask_grammar masking models reading",
    "split_table": f"{HALL} learn",
    "packing": f"{HALL} learn split_table",
    "tasks": f"{HALL} guides dates options run learn metrics picture compare masking models",
    "translating": f"{HALL} guides models reading tasks",
    "batch": f"{HALL} run picture masking models options tasks",
    "strips": f"{HALL}",
    "in_strips": f"{HALL} strips guides dates clouding masking models options tasks translating",
    "accessor": f"{HALL} strips in_strips clouding mask_grammar masking models options translating",
    "datasets": f"{HALL} learn packing accessor",
    "benchmark": f"{HALL} run learn metrics picture masking models split_table",
    "cli": f"{HALL} run learn metrics picture compare masking clouding chipping models datasets "
    "options tasks translating batch benchmark",
    "__main__": "cli",
}
FACE = "__init__"  # lazy names of every room

# Heavy packages come in by one door each.
DOORS = {
    "torch": "learn/",
    "torchvision": "learn/",
    "lightning_fabric": "learn/",
    "segmentation_models_pytorch": "learn/",
    "onnxruntime": "run/",
    "dask": "batch/engines.py accessor/",
    "distributed": "batch/engines.py accessor/",
    "pystac": "batch/stac.py batch/catalog.py run/mlm.py",
    "pystac_client": "batch/stac.py",
    "stac_geoparquet": "batch/stac.py batch/catalog.py",
}

# And some rooms have never heard of some packages.
STRANGERS = {
    "learn/": "rasterio",
    "sky/": "rasterio torch",
    "metrics.py": "rasterio torchmetrics",
}

OPENER = "geodecloud/geo/raster.py"
OPENING = ("rasterio.open", "rasterio.io", "rasterio.shutil", "rasterio.vrt", "rasterio.MemoryFile")

HEAVY_AT_START = {"torch", "matplotlib", "xarray"}
# The machine where a model is trained has torch, numpy and safetensors: of ours, none of these.
NOT_ON_A_TRAINING_MACHINE = (
    *("affine", "click", "dask", "lightning_fabric", "matplotlib", "odc", "onnxruntime"),
    *("pydantic", "pystac"),
    *("pystac_client", "rasterio", "rich", "shapely", "xarray"),
)


@dataclass(frozen=True)
class Source:
    """One file: its path in the repository and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def is_ours(self) -> bool:
        return self.path.startswith("geodecloud/")

    @property
    def place(self) -> str:
        """Path inside the package: "geo/raster.py"."""
        return self.path.removeprefix("geodecloud/")

    @property
    def room(self) -> str:
        return self.place.split("/")[0].removesuffix(".py")

    def stands_in(self, doors: str) -> bool:
        return any(
            self.place == door or (door.endswith("/") and self.place.startswith(door))
            for door in doors.split()
        )

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """(line, dotted name) of all that is imported, anywhere in the file."""
        return list(self._imports())

    def _imports(self) -> Iterator[tuple[int, str]]:
        package = self.path.removesuffix(".py").split("/")
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = ".".join(package[: -node.level]) if node.level else ""
                module = ".".join(filter(None, (start, node.module)))
                yield from ((node.lineno, f"{module}.{name.name}") for name in node.names)
            elif isinstance(node, ast.Call) and _dotted(node.func, {}).endswith("import_module"):
                names = (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))
                yield from ((node.lineno, str(name)) for name in names)

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Local names of what is imported: ``import rasterio as rio`` gives rio: rasterio."""
        names = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names |= {name.asname: name.name for name in node.names if name.asname}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names |= {
                    name.asname or name.name: f"{node.module}.{name.name}" for name in node.names
                }
        return names

    def at(self, line: int, what: str) -> str:
        return f"{self.path}:{line} {what}"


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """The dotted name of an expression ("rasterio.open"), empty where it has none."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, aliases)}.{node.attr}"
    return ""


def _begins(dotted: str, prefix: str) -> bool:
    return f"{dotted}.".startswith(f"{prefix}.")


# The rules: each yields what breaks it.


def imports_run_downwards(source: Source) -> Iterator[str]:
    if not source.is_ours or source.room == FACE:
        return
    allowed = [source.room, *ROOMS.get(source.room, "").split()]
    if source.room not in ROOMS:
        yield source.at(1, f"is a room without a place in the plan: {source.room}")
    for line, dotted in source.imports:
        package, _, inside = dotted.partition(".")
        if package != "geodecloud" or inside == "__version__":
            continue
        if not any(_begins(inside, room) for room in allowed):
            yield source.at(line, f"imports {dotted}")


def heavy_packages_come_in_by_their_door(source: Source) -> Iterator[str]:
    if source.is_ours:
        for line, dotted in source.imports:
            doors = DOORS.get(dotted.split(".")[0])
            if doors is not None and not source.stands_in(doors):
                yield source.at(line, f"imports {dotted}, which comes in by {doors}")


def rooms_stay_strangers_to_what_they_need_not_know(source: Source) -> Iterator[str]:
    for place, strangers in STRANGERS.items():
        if source.is_ours and source.stands_in(place):
            for line, dotted in source.imports:
                if dotted.split(".")[0] in strangers.split():
                    yield source.at(line, f"imports {dotted}")


def only_one_file_opens_rasters(source: Source) -> Iterator[str]:
    if not source.is_ours or source.path == OPENER:
        return
    for line, dotted in source.imports:
        if any(_begins(dotted, name) for name in OPENING):
            yield source.at(line, f"imports {dotted}")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node, source.aliases)
            if any(_begins(dotted, name) for name in OPENING):
                yield source.at(node.lineno, f"uses {dotted}")


def exceptions_are_held_in_run_job_alone(source: Source) -> Iterator[str]:
    """``except BaseException`` may clear away, if it raises again."""
    if not source.is_ours:
        return
    allowed = {
        id(inner)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef) and node.name == "run_job"
        for inner in ast.walk(node)
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and id(node) not in allowed:
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {_dotted(kind, {}) if kind else "everything" for kind in kinds}
            raises = any(isinstance(i, ast.Raise) and i.exc is None for i in ast.walk(node))
            if names & {"Exception", "everything"} or ("BaseException" in names and not raises):
                yield source.at(node.lineno, f"catches {', '.join(sorted(names))}")


def only_the_command_line_prints(source: Source) -> Iterator[str]:
    if source.is_ours and source.room != "cli":
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and _dotted(node.func, {}) == "print":
                yield source.at(node.lineno, "prints")


def nothing_is_left_to_do(source: Source) -> Iterator[str]:
    if source.path == "tests/test_house.py":  # which has to name what it forbids
        return
    for line, text in enumerate(source.text.splitlines(), 1):
        if re.search(r"\b(TODO|FIXME)\b", text):
            yield source.at(line, "leaves something to do")


def plugins_import_nothing_of_ours(source: Source) -> Iterator[str]:
    if source.path.startswith("plugins/"):
        for line, dotted in source.imports:
            if _begins(dotted, "geodecloud"):
                yield source.at(line, f"imports {dotted}")


def every_file_has_a_subject(source: Source) -> Iterator[str]:
    """A helper lives with its only caller, or earns a name."""
    if source.is_ours and Path(source.path).stem in {"utils", "helpers", "base", "common", "misc"}:
        yield source.at(1, "has no subject")


Rule = Callable[[Source], Iterator[str]]
RULES: tuple[Rule, ...] = (
    imports_run_downwards,
    heavy_packages_come_in_by_their_door,
    rooms_stay_strangers_to_what_they_need_not_know,
    only_one_file_opens_rasters,
    exceptions_are_held_in_run_job_alone,
    only_the_command_line_prints,
    nothing_is_left_to_do,
    plugins_import_nothing_of_ours,
    every_file_has_a_subject,
)

# (rule, where, a source that breaks it)
BREACHES = [
    (imports_run_downwards, "geo/fill.py", "from geodecloud.pipeline import Request"),
    (imports_run_downwards, "geo/fill.py", "def f():\n    import geodecloud.tasks"),
    (imports_run_downwards, "geo/fill.py", "from ..learn.losses import l1"),
    (imports_run_downwards, "geo/fill.py", "from .. import tasks"),
    (imports_run_downwards, "geo/fill.py", "from geodecloud import decloud"),
    (imports_run_downwards, "pipeline.py", "import geodecloud.run.onnx"),
    (imports_run_downwards, "run/onnx.py", "from geodecloud.learn import models"),
    (imports_run_downwards, "learn/models.py", "from geodecloud.run.onnx import OnnxTranslator"),
    (imports_run_downwards, "tasks.py", "importlib.import_module('geodecloud.cli.main')"),
    (imports_run_downwards, "errors.py", "from geodecloud.progress import silent"),
    (imports_run_downwards, "metrics.py", "from geodecloud.tasks import decloud"),
    (imports_run_downwards, "shed.py", "import numpy"),
    (heavy_packages_come_in_by_their_door, "geo/fill.py", "def f():\n    import torch.nn"),
    (heavy_packages_come_in_by_their_door, "tasks.py", "from torch import nn"),
    (heavy_packages_come_in_by_their_door, "learn/translator.py", "import onnxruntime as ort"),
    (heavy_packages_come_in_by_their_door, "batch/jobs.py", "import dask"),
    (heavy_packages_come_in_by_their_door, "batch/engines.py", "import pystac"),
    (rooms_stay_strangers_to_what_they_need_not_know, "learn/data.py", "from rasterio import io"),
    (rooms_stay_strangers_to_what_they_need_not_know, "sky/perlin.py", "import torch"),
    (only_one_file_opens_rasters, "geo/chips.py", "import rasterio\nrasterio.open('a')"),
    (only_one_file_opens_rasters, "geo/chips.py", "import rasterio as rio\nrio.open('a')"),
    (only_one_file_opens_rasters, "tasks.py", "from rasterio import open as door"),
    (only_one_file_opens_rasters, "tasks.py", "from rasterio.io import MemoryFile"),
    (only_one_file_opens_rasters, "tasks.py", "import rasterio\nf = rasterio.open"),
    (exceptions_are_held_in_run_job_alone, "tasks.py", "try: f()\nexcept Exception: raise"),
    (exceptions_are_held_in_run_job_alone, "tasks.py", "try: f()\nexcept: pass"),
    (exceptions_are_held_in_run_job_alone, "tasks.py", "try: f()\nexcept (OSError, Exception): 1"),
    (exceptions_are_held_in_run_job_alone, "tasks.py", "try: f()\nexcept BaseException: pass"),
    (only_the_command_line_prints, "tasks.py", "def f():\n    print('done')"),
    (nothing_is_left_to_do, "tasks.py", "x = 1  # TODO: more"),
    (every_file_has_a_subject, "geo/utils.py", ""),
]

# What looks like a breach and is none.
ALLOWED = [
    (imports_run_downwards, "geo/fill.py", "from geodecloud.errors import InputError"),
    (imports_run_downwards, "geo/fill.py", "from .tiling import Window"),
    (imports_run_downwards, "learn/checkpoint.py", "from geodecloud.run.package import Package"),
    (imports_run_downwards, "cli/main.py", "from geodecloud import __version__"),
    (imports_run_downwards, "__init__.py", "from geodecloud.tasks import decloud"),
    (heavy_packages_come_in_by_their_door, "tasks.py", "import torchlight"),
    (heavy_packages_come_in_by_their_door, "batch/engines.py", "import dask.distributed"),
    (only_one_file_opens_rasters, "geo/raster.py", "import rasterio\nrasterio.open('a')"),
    (only_one_file_opens_rasters, "geo/masks.py", "from rasterio.features import rasterize"),
    (only_one_file_opens_rasters, "geo/chips.py", "path.open()\nopen(path)"),
    (
        exceptions_are_held_in_run_job_alone,
        "batch/jobs.py",
        "def run_job():\n    try: f()\n    except Exception as error: return error",
    ),
    (
        exceptions_are_held_in_run_job_alone,
        "geo/raster.py",
        "try: f()\nexcept BaseException:\n    clear()\n    raise",
    ),
    (only_the_command_line_prints, "cli/main.py", "print('done')"),
    (nothing_is_left_to_do, "errors.py", "self.todo = todo"),
]


def name_of(value: object) -> str | None:
    return value.__name__ if callable(value) else None


def read(folder: str) -> Iterator[Source]:
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        yield Source(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return [s for folder in ("geodecloud", "plugins", "benchmarks", "tests") for s in read(folder)]


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_house_keeps_its_rule(rule: Rule, sources: list[Source]):
    assert [breach for source in sources for breach in rule(source)] == []


@pytest.mark.parametrize(("rule", "place", "text"), BREACHES)
def test_a_breach_is_caught(rule: Rule, place: str, text: str):
    assert list(rule(Source(f"geodecloud/{place}", text)))


def test_a_plugin_that_imports_us_is_caught():
    source = Source(
        "plugins/qgis_geodecloud/runner.py", "def f():\n    from geodecloud import tasks"
    )
    assert list(plugins_import_nothing_of_ours(source))


@pytest.mark.parametrize(("rule", "place", "text"), ALLOWED)
def test_what_only_looks_like_a_breach_passes(rule: Rule, place: str, text: str):
    assert list(rule(Source(f"geodecloud/{place}", text))) == []


def test_every_rule_meets_a_source_that_breaks_it():
    tried = {rule for rule, *_ in BREACHES} | {plugins_import_nothing_of_ours}
    assert tried == set(RULES)


def test_the_plan_has_no_circle():
    """Rooms in the order of the table: whatever one imports stands above it."""
    order = list(ROOMS)
    for room, below in ROOMS.items():
        for name in below.split():
            assert order.index(name.split(".")[0]) < order.index(room), (room, name)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


START = {
    "import geodecloud": "import geodecloud",
    "python -m geodecloud --help": (
        "import contextlib, runpy, sys\n"
        "sys.argv = ['geodecloud', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('geodecloud', run_name='__main__')"
    ),
}


def heavy_modules(code: str) -> set[str]:
    out = run_python(f"{code}\nimport sys\nprint('modules:', *sys.modules)")
    return HEAVY_AT_START & set(out.split("modules:")[1].split())


@pytest.mark.parametrize("how", START)
def test_starting_brings_nothing_heavy(how):
    assert not heavy_modules(START[how])


def test_a_heavy_start_is_caught():
    assert heavy_modules("import xarray") == {"xarray"}


BLOCKED = f"""
import sys
for name in {NOT_ON_A_TRAINING_MACHINE!r}:
    sys.modules[name] = None
import geodecloud.learn.training
"""


def test_training_needs_torch_numpy_and_safetensors_alone():
    if not (REPOSITORY / "geodecloud/learn/training.py").exists():
        pytest.skip("learn/training.py is not written yet")
    run_python(BLOCKED)


def test_a_blocked_package_cannot_be_imported():
    """The guard above works: this module does need a blocked package."""
    with pytest.raises(AssertionError, match="import of affine halted"):
        run_python(BLOCKED.replace("learn.training", "geo.scene"))
