"""Every refusal says what was found, what was expected, and what to do."""

from __future__ import annotations

import inspect
import pickle

import pytest

from geodecloud import errors
from geodecloud.errors import GeodecloudError, MissingExtraError

TREE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, GeodecloudError)
]
EXAMPLES = [
    MissingExtraError("torch", "learn", "training")
    if kind is MissingExtraError
    else kind("scene has 3 bands", "the model wants 4", "pass --bands")
    for kind in TREE
]
each_error = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


@each_error
def test_a_message_has_its_three_parts_in_one_sentence(error):
    assert str(error) == f"{error.found}; {error.expected}: {error.todo}"
    assert "\n" not in str(error)
    assert all((error.found, error.expected, error.todo))


@each_error
def test_an_error_comes_out_of_another_process_as_it_was(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)


@each_error
def test_one_except_catches_every_refusal(error):
    with pytest.raises(GeodecloudError):
        raise error


def test_a_missing_extra_is_named_with_the_line_that_installs_it():
    error = MissingExtraError("torch", "learn", "training a model")
    assert str(error) == (
        "torch is not installed; training a model needs it: pip install 'geodecloud[learn]'"
    )


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_is_for(kind):
    assert (kind.__doc__ or "").strip().endswith(".") or "Args:" in (kind.__doc__ or "")
