"""each_scene: the work on one scene, done for each of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from geodecloud.cli.progress import Reporter
    from geodecloud.geo.several import Task
    from geodecloud.progress import Progress


class Result(Protocol):
    """What was done to a scene, for programs and for people."""

    def to_json(self) -> dict[str, Any]: ...  # noqa: D102

    def summary(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Listeners:
    """Who hears of the work on a scene; of several, its name goes with all that is told."""

    reporter: Reporter
    command: str
    name: str | None
    is_first: bool

    def on_start(self, device: str, model: str) -> None:
        """Say who works, once for all scenes."""
        if self.is_first:
            self.reporter.open(self.command, device=device, model=model)

    def on_note(self, text: str) -> None:
        """Say what the user should know."""
        self.reporter.note(f"{self.name}: {text}" if self.name else text)

    def on_progress(self, progress: Progress) -> None:
        """Say how far the work is."""
        told = f"{progress.message} of {self.name}" if self.name else progress.message
        self.reporter(replace(progress, message=told))


def each_scene(
    reporter: Reporter,
    command: str,
    tasks: Sequence[Task],
    work: Callable[[Task, Listeners], Result],
) -> None:
    """Work on scenes one after the other, and report: one result, or those of all.

    An error ends the work; the outputs of the scenes before are whole.
    """
    results = []
    for i, task in enumerate(tasks):
        name = task.outputs["out"].stem if tasks[1:] else None
        results.append(work(task, Listeners(reporter, command, name, is_first=i == 0)))
    summaries = [result.summary() for result in results]
    if not tasks[1:]:
        reporter.close(results[0].to_json(), summaries[0])
        return
    reporter.close(
        {"scenes": [result.to_json() for result in results]},
        "\n\n".join(
            f"{task.outputs['out'].stem}\n{text}"
            for task, text in zip(tasks, summaries, strict=True)
        ),
    )
