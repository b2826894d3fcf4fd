"""Packed chips: what is written is read, and nothing damaged is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open

from geodecloud.errors import DataError
from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import PACKING, PackedChips, Side
from tests.learn.conftest import BANDS, SIZE_PX, write_chips


@given(arrays(np.uint16, (1, 3, 3)), st.sampled_from(sorted(PACKING)))
def test_stored_numbers_survive_the_way_to_values_and_back(stored, unit: str) -> None:
    side = Side(("band",), unit)
    values, valid = side.to_values(stored)
    assert np.array_equal(side.to_stored(values, valid), stored)


def test_eight_bit_pictures_are_packed_exactly() -> None:
    values = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(1, 16, 16)
    side = Side(("red",), "display")
    back, valid = side.to_values(side.to_stored(values, np.ones(values.shape, bool)))
    assert valid.all()
    assert np.abs(back - values).max() < 1e-6


def test_values_beyond_what_can_be_stored_are_cut_and_never_nodata() -> None:
    values = np.array([[[-5.0, 50.0]]], np.float32)
    stored = Side(("B02",)).to_stored(values, np.ones(values.shape, bool))
    assert stored.tolist() == [[[1, 65535]]]


def test_samples_come_back_with_their_sides_places_levels_and_folds(tmp_path: Path) -> None:
    path = tmp_path / "chips.safetensors"
    chip = np.full((1, 4, 4), 0.2, np.float32)
    valid = np.ones(chip.shape, bool)
    valid[0, 0, 0] = False
    sides = {"target": Side(("B02",)), "sar": Side(("VV",), "dB")}
    with PackWriter(path, 4, sides) as writer:
        writer.attribution.add("somebody")
        writer.add({"target": (chip, valid)}, place="a", level="L1C", fold=2)
        writer.add({"sar": (chip - 12, valid), "target": (chip, valid)}, place="b")
        assert len(writer) == 2
    packed = PackedChips(path)
    assert (len(packed), packed.size_px, packed.places) == (2, 4, ["a", "b"])
    assert packed.level.tolist() == [1, 0]
    assert packed.fold.tolist() == [2, -1]
    assert packed.has("sar").tolist() == [False, True]
    assert not packed.has("source").any()
    assert packed.attribution == ["somebody"]
    values, flags = packed.read("sar", np.array([0, 1]))
    assert not flags[0].any()
    assert values[1, 0, 1, 1] == pytest.approx(-11.8, abs=1e-3)
    assert np.array_equal(flags[1], valid)


def test_any_reader_of_safetensors_reads_packed_chips(tmp_path: Path) -> None:
    path = write_chips(tmp_path / "chips.safetensors", n_samples=3)
    with safe_open(path, framework="numpy") as file:
        tensor = file.get_tensor("target")
    assert tensor.shape == (3, 4, SIZE_PX, SIZE_PX)
    assert np.array_equal(tensor[1], PackedChips(path).stored("target", 1))


def test_pixels_stay_on_disk(chips: PackedChips) -> None:
    assert isinstance(chips._stored["target"], np.memmap)


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        PackWriter(tmp_path / "chips.safetensors", 4, {"target": Side(("B02",))}),
    ):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_chip_of_another_shape_is_refused(tmp_path: Path) -> None:
    chip = np.zeros((2, 4, 4), np.float32)
    with (
        pytest.raises(DataError, match=r"target chip of here has shape \(2, 4, 4\)"),
        PackWriter(tmp_path / "chips.safetensors", 4, {"target": Side(BANDS)}) as writer,
    ):
        writer.add({"target": (chip, chip == 0)}, place="here")


def test_sides_of_several_sensors_name_them_all(tmp_path: Path) -> None:
    with PackWriter(tmp_path / "chips.safetensors", 4) as writer:
        writer.declare("target", Side(("B02",), sensor="sentinel-2-l1c"))
        writer.declare("target", Side(("B02",), sensor="sentinel-2-l2a"))
        with pytest.raises(DataError, match="those before have B02"):
            writer.declare("target", Side(("B03",)))
        with pytest.raises(DataError, match="unit 'kelvin'"):
            writer.declare("source", Side(("T",), "kelvin"))
        writer.add({"target": (np.ones((1, 4, 4)), np.ones((1, 4, 4), bool))}, place="a")
    sensor = PackedChips(tmp_path / "chips.safetensors").sides["target"].sensor
    assert sensor == "sentinel-2-l1c / sentinel-2-l2a"


@pytest.mark.parametrize(
    "content", [b"", b"\x05", b"\xff" * 200, b"\x02\0\0\0\0\0\0\0{}", b"x" * 99]
)
def test_what_is_no_packed_set_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chips.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="geodecloud pack DATA"):
        PackedChips(path)


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        PackedChips(tmp_path / "none.safetensors")


def test_a_truncated_set_is_one_clear_error(tmp_path: Path) -> None:
    path = write_chips(tmp_path / "chips.safetensors", n_samples=2)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="damaged"):
        PackedChips(path)


def test_selected_bands_are_those_of_the_whole_in_the_order_asked(tmp_path: Path) -> None:
    packed = PackedChips(write_chips(tmp_path / "chips.safetensors", pairs=4))
    whole, chosen = packed.read("source", np.arange(6)), packed.select(["B04", "B02"])
    assert chosen.sides["target"].bands == chosen.sides["source"].bands == ("B04", "B02")
    assert chosen.sides["mask"].bands == ("class",)
    for part, all_bands in zip(chosen.read("source", np.arange(6)), whole, strict=True):
        assert np.array_equal(part, all_bands[:, [2, 0]])
    again = chosen.select(["B02"])
    assert np.array_equal(again.stored("target", 3), packed.stored("target", 3)[:1])
    assert packed.sides["target"].bands == BANDS
    with pytest.raises(DataError, match="pack with --bands B04,B08"):
        chosen.select(["B04", "B08"])


def test_a_side_may_be_what_is_drawn_from(tmp_path: Path) -> None:
    path = tmp_path / "chips.safetensors"
    valid = np.ones((1, 4, 4), bool)
    sides = {"target": Side(("B02",)), "sar": Side(("VV",), "dB")}
    with PackWriter(path, 4, sides) as writer:
        for i in range(4):
            sample = {"target": (np.full((1, 4, 4), 0.1 * i, np.float32), valid)}
            if i % 2:
                sample["sar"] = np.full((1, 4, 4), -10.0 - i, np.float32), valid
            writer.add(sample, place=f"place {i}", fold=i)
    packed = PackedChips(path)
    drawn = packed.drawn_from("sar")
    assert set(drawn.sides) == {"source", "target"}
    assert [drawn.places[place] for place in drawn.place] == ["place 1", "place 3"]
    assert drawn.fold.tolist() == [1, 3]
    both = np.array([0, 1])
    np.testing.assert_allclose(drawn.read("source", both)[0][:, 0, 0, 0], [-11, -13], atol=1e-3)
    np.testing.assert_allclose(drawn.read("target", both)[0][:, 0, 0, 0], [0.1, 0.3], atol=1e-4)
    assert len(packed) == 4
    with pytest.raises(DataError, match="drawn from reference"):
        packed.drawn_from("reference")
