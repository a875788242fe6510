"""Models in several files: complete and consistent, or refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import gguf as independent
import numpy as np
import pytest
from gguf_bytes import I32, U16, U64, entry, gguf, model, tensor

from llamacpp.errors import FormatError, ModelFileError
from llamacpp.format import ModelFile
from llamacpp.tensors import map_tensors


def part_bytes(
    no: int | None,
    count: int | None,
    total: int | None,
    tensors: Sequence[str] = (),
    extra: Sequence[bytes] = (),
) -> bytes:
    """A part whose tensor NAME holds two floats: its place in the part, and `no`."""
    entries = list(extra)
    entries += [entry("split.no", U16, no)] if no is not None else []
    entries += [entry("split.count", U16, count)] if count is not None else []
    entries += [entry("split.tensors.count", I32, total)] if total is not None else []
    records = [tensor(name, [2], offset=32 * i) for i, name in enumerate(tensors)]
    data = b"".join(struct.pack("<2f24x", i, no or 0) for i in range(len(tensors)))
    return gguf(entries, records, data)


def write_model(folder: Path) -> list[Path]:
    """Three parts, the first without tensors."""
    contents = [
        part_bytes(0, 3, 3, [], [entry("general.architecture", 8, model_name())]),
        part_bytes(1, 3, 3, ["a", "b"]),
        part_bytes(2, 3, 3, ["c"]),
    ]
    paths = [folder / f"big-model-{i + 1:05d}-of-00003.gguf" for i in range(3)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def model_name() -> bytes:
    return struct.pack("<Q", 5) + b"llama"


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_part_opens_the_whole_model(tmp_path: Path, given: int) -> None:
    paths = write_model(tmp_path)
    with ModelFile(paths[given]) as file:
        assert [part.mapping.path for part in file.parts] == paths
        assert file.metadata.string("general.architecture") == "llama"
        assert {name: info.part for name, info in file.tensors.items()} == {"a": 1, "b": 1, "c": 2}
        assert file.nbytes == sum(path.stat().st_size for path in paths)
        views = map_tensors(file)
    assert views["a"].data == struct.pack("<2f", 0, 1)
    assert views["b"].data == struct.pack("<2f", 1, 1)
    assert views["c"].data == struct.pack("<2f", 0, 2)


def test_a_model_split_by_an_independent_writer_opens(tmp_path: Path) -> None:
    writer = independent.GGUFWriter(
        tmp_path / "m.gguf", "llama", split_max_tensors=2, small_first_shard=True
    )
    arrays = {f"t{i}": np.full((2, 3), i, np.float32) for i in range(5)}
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (first, *others) = sorted(tmp_path.iterdir())
    assert len(others) == 3
    with ModelFile(first) as file:
        assert file.metadata.string("general.architecture") == "llama"
        assert {n: t.data.tobytes() for n, t in map_tensors(file).items()} == {
            n: a.tobytes() for n, a in arrays.items()
        }


def test_an_ordinary_file_may_be_named_like_a_part(tmp_path: Path) -> None:
    path = tmp_path / "m-00002-of-00007.gguf"
    path.write_bytes(part_bytes(None, None, None, ["a"]))
    with ModelFile(path) as file:
        assert len(file.parts) == 1
        assert file.tensors["a"].part == 0


def test_a_single_part_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(part_bytes(0, 1, 1, ["a"]))
    with ModelFile(path) as file:
        assert list(file.tensors) == ["a"]


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = write_model(tmp_path)
    paths[1].unlink()
    for given in (paths[0], paths[2]):
        with pytest.raises(
            ModelFileError, match=r"big-model-00002-of-00003\.gguf: missing; it is part 2 of 3"
        ):
            ModelFile(given)


def test_a_renamed_part_is_refused(tmp_path: Path) -> None:
    paths = write_model(tmp_path)
    (tmp_path / "m.gguf").write_bytes(paths[0].read_bytes())
    with pytest.raises(ModelFileError, match=r"is one of 3 parts.*NAME-00001-of-00003\.gguf"):
        ModelFile(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("index", "content", "message"),
    [
        (1, part_bytes(2, 3, 3, ["a", "b"]), "split.no is 2, but part 2 must have 1: the file was"),
        (2, part_bytes(1, 3, 3, ["a", "b"]), "split.no is 1, but part 3 must have 2"),
        (1, part_bytes(1, 4, 3, ["a", "b"]), "split.count is 4, but the other parts say 3"),
        (1, part_bytes(None, 3, 3, ["a", "b"]), "'split.no' is missing"),
        (1, part_bytes(1, None, 3, ["a", "b"]), "'split.count' is missing"),
        (1, part_bytes(1, 3, 3, ["a"]), "split.tensors.count is 3, but the parts hold 2 tensors"),
        (1, part_bytes(1, 3, 4, ["a", "b"]), "split.tensors.count is 4, but the parts hold 3"),
        (0, part_bytes(0, 3, None), "'split.tensors.count' is missing"),
        (0, part_bytes(0, 5, 3), "the name says 3 parts, but split.count is 5"),
        (2, part_bytes(2, 3, 3, ["b"]), "00003-of-00003.gguf: tensor 'b' is in two parts"),
        (2, part_bytes(2, 3, 3, ["c"])[:-25], "00003-of-00003.gguf: tensor 'c' ends at byte"),
        (2, b"GG", "00003-of-00003.gguf: not a GGUF file"),
        (1, model({"split.no": 1.5, "split.count": 3}), "'split.no' must be an integer, but is"),
        (0, model({"split.count": "3"}), "'split.count' must be an integer, but is STRING"),
        (
            0,
            gguf([entry("split.count", U64, 2**64 - 1)]),
            "'split.count' is 18446744073709551615, outside 0 to",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    tmp_path: Path, index: int, content: bytes, message: str
) -> None:
    paths = write_model(tmp_path)
    paths[index].write_bytes(content)
    with pytest.raises(FormatError, match=message):
        ModelFile(paths[0])


def test_a_part_number_out_of_range_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    for number in ("00000", "00004"):
        path = tmp_path / f"big-model-{number}-of-00003.gguf"
        path.write_bytes(part_bytes(0, 3, 3))
        with pytest.raises(FormatError, match=rf"there is no part {int(number)} of 3"):
            ModelFile(path)


def test_a_change_in_any_part_is_noticed(tmp_path: Path) -> None:
    paths = write_model(tmp_path)
    with ModelFile(paths[0]) as file:
        file.check_unchanged()
        paths[2].write_bytes(b"")
        with pytest.raises(ModelFileError, match=r"00003-of-00003\.gguf: the file changed"):
            file.check_unchanged()
