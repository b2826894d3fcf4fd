"""What the log of an algorithm says: events of geodecloud as lines that people read.

Nothing of QGIS is imported here: whoever has the four methods of its feedback can be told.
"""

import time

SECONDS_BETWEEN_LINES = 2.0
SECONDS_BEFORE_A_GUESS = 3.0


class Narrator:
    """Hears events, moves the progress bar and writes the log.

    Stages follow each other ("clouds", "fill", "tiles"): the bar is that of the stage, and each
    stage says its name when it begins.
    """

    def __init__(self, feedback, clock=time.monotonic):
        """Tell ``feedback``: setProgress, setProgressText, pushInfo, pushWarning."""
        self._feedback, self._clock = feedback, clock
        self._stage, self._epoch, self._first = None, None, 0
        self._began = self._told = clock()

    def __call__(self, event):
        """Tell one event."""
        kind = event["event"]
        if kind == "start":
            self._feedback.pushInfo(who_works(event))
        elif kind == "progress":
            self._progress(event)
        elif kind == "note":
            self._feedback.pushWarning(event["message"])

    def _progress(self, event):
        done, total, stage = event["done"], event["total"], event["message"]
        now = self._clock()
        metrics = event.get("metrics") or {}
        if stage != self._stage:
            self._stage, self._began, self._first = stage, now, done
            self._told = float("-inf")
        self._feedback.setProgress(100 * done / total if total else 100)
        is_new_epoch = metrics.get("epoch") != self._epoch
        if now - self._told < SECONDS_BETWEEN_LINES and not is_new_epoch:
            return
        self._told, self._epoch = now, metrics.get("epoch")
        parts = [f"{stage}: {done} of {total}", in_words(metrics), self._guess(done, total, now)]
        self._feedback.setProgressText(", ".join(part for part in parts if part))

    def _guess(self, done, total, now):
        """How long the stage will still take, at the pace so far; nothing while that is young."""
        seconds, steps = now - self._began, done - self._first
        if seconds < SECONDS_BEFORE_A_GUESS or steps <= 0 or done >= total:
            return ""
        return f"about {duration(seconds / steps * (total - done))} left"


def who_works(event):
    """Return the first line of a run: versions, model, device."""
    model = event.get("model", "none")
    with_model = "" if model in ("", "none") else f" with {model}"
    return (
        f"geodecloud {event.get('geodecloud', '')}: {event.get('command', '')}{with_model} "
        f"on {event.get('device', 'cpu')}"
    )


def in_words(metrics):
    """Return figures as people read them, the epoch first; speeds are left out."""
    epoch = [f"epoch {metrics['epoch']:.0f}"] if "epoch" in metrics else []
    figures = [
        f"{name} {value:.4g}"
        for name, value in metrics.items()
        if name != "epoch" and not name.endswith("_per_second")
    ]
    return ", ".join([*epoch, *figures])


def duration(seconds):
    """Return a length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
