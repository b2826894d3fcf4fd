"""How far work is, and how it stops."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.progress import PROTOCOL, PROTOCOL_VERSION, Cancelled, Progress, silent


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_share_lies_between_nothing_and_all(done, rest):
    share = Progress(done, done + rest).share
    assert 0 <= share <= 1
    assert (share == 1) == (rest == 0)


@pytest.mark.parametrize(("done", "total"), [(2, 1), (-1, 1), (0, -1), (1, 0)])
def test_counts_that_cannot_be_drawn_are_refused(done, total):
    with pytest.raises(ValueError, match=r"must be in 0\.\.total"):
        Progress(done, total)


def test_work_of_no_steps_is_done():
    assert Progress(0, 0).share == 1


def test_no_except_exception_holds_a_user_who_stops():
    def work(listener):
        try:
            listener(Progress(1, 2))
        except Exception:
            return "held"
        return "done"

    def stop(_):
        raise Cancelled

    assert work(silent) == "done"
    with pytest.raises(Cancelled):
        work(stop)


def test_progress_can_be_told_to_a_program_in_json():
    progress = Progress(1, 2, "tiles", {"psnr_db": 31.5})
    assert Progress(**json.loads(json.dumps(asdict(progress)))) == progress


def test_the_protocol_has_a_name_and_a_version():
    """Other programs read these two: a change here is a change for them."""
    assert (PROTOCOL, PROTOCOL_VERSION) == ("geodecloud-progress", 1)
