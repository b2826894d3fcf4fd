"""What the log in QGIS says of the events."""

import pytest

from plugins.qgis_geodecloud.narrator import Narrator, duration, in_words


class Log:
    """The feedback of an algorithm; what is told stays."""

    def __init__(self):
        self.lines, self.shares, self.now = [], [], 0.0

    def setProgress(self, share):
        self.shares.append(share)

    def setProgressText(self, text):
        self.lines.append(text)

    pushInfo = setProgressText

    def pushWarning(self, text):
        self.lines.append(f"warning: {text}")


def told(*events):
    """The log after events, each with the second in which it comes."""
    log = Log()
    narrator = Narrator(log, clock=lambda: log.now)
    for log.now, event in events:
        narrator(event)
    return log


def step(done, total=10, message="tiles", **metrics):
    return {
        "event": "progress", "done": done, "total": total, "message": message, "metrics": metrics,
    }  # fmt: skip


def test_the_first_line_says_version_command_model_and_device():
    start = {"event": "start", "geodecloud": "0.1.0", "command": "decloud", "device": "cpu"}
    assert told((0, {**start, "model": "m"})).lines == ["geodecloud 0.1.0: decloud with m on cpu"]
    assert told((0, {**start, "model": "none"})).lines == ["geodecloud 0.1.0: decloud on cpu"]


def test_the_bar_is_that_of_the_stage():
    log = told((0, step(0)), (1, step(5)), (2, step(1, 2, "fill")), (3, step(0, 0, "nothing")))
    assert log.shares == [0, 50, 50, 100]


def test_lines_come_every_two_seconds_and_with_each_stage():
    log = told(
        (0, step(1)), (0.5, step(2)), (1.9, step(3)), (2, step(4)), (2.1, step(1, 2, "fill"))
    )
    assert log.lines == ["tiles: 1 of 10", "tiles: 4 of 10", "fill: 1 of 2"]


def test_what_is_left_is_guessed_by_the_pace_of_this_stage():
    """Five steps in ten seconds, five to go; the three that were done before do not count."""
    log = told((0, step(0, 1, "fill")), (100, step(3, 13)), (110, step(8, 13)))
    assert log.lines[-1] == "tiles: 8 of 13, about 10 s left"


def test_nothing_is_guessed_of_the_young_and_of_the_done():
    log = told((0, step(0)), (2, step(1)), (4, step(1, 10, "b")), (9, step(10, 10, "b")))
    assert not any("left" in line for line in log.lines)


def test_each_epoch_tells_its_losses_at_once():
    log = told(
        (0, step(1, 9, "training", epoch=1.0, l1_loss=0.5, chips_per_second=9.0)),
        (0.1, step(2, 9, "training", epoch=1.0, l1_loss=0.4)),
        (0.2, step(3, 9, "training", epoch=2.0, l1_loss=0.3)),
    )
    assert log.lines == [
        "training: 1 of 9, epoch 1, l1_loss 0.5", "training: 3 of 9, epoch 2, l1_loss 0.3",
    ]  # fmt: skip


def test_a_note_is_a_warning():
    assert told((0, {"event": "note", "message": "no nodata"})).lines == ["warning: no nodata"]


def test_an_event_of_a_later_version_is_passed_over():
    assert told((0, {"event": "weather", "message": "fine"})).lines == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_a_length_of_time_is_said_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_figures_begin_with_the_epoch_and_leave_speeds_out():
    assert in_words({"b": 1.23456, "epoch": 3.0, "a_per_second": 1.0}) == "epoch 3, b 1.235"
