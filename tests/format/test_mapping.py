"""Opening and mapping: clear refusals, laziness that can be counted, lifetimes, later changes."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from gguf_bytes import F32, model

from llamacpp.errors import FormatError, ModelFileError
from llamacpp.format import GGMLType, ModelFile
from llamacpp.format.gguf import parse_header
from llamacpp.format.mapping import MappedFile
from llamacpp.tensors import map_tensors

SMALL = model({"k": 1}, {"t": (GGMLType.F32, [2], struct.pack("<2f", 1, 2))})


def large_file(path: Path, header_strings: int = 0, nbytes: int = 64 << 20) -> Path:
    """Write a sparse file of one tensor."""
    n = nbytes // 4
    tokens = [f"token {i}" for i in range(header_strings)]
    data = model({"words": tokens} if tokens else {}, {"t": (GGMLType.F32, [1], bytes(4))})
    one, many = struct.pack("<IQ", 1, 1), struct.pack("<IQ", 1, n)
    assert data.count(one) == 1
    path.write_bytes(data.replace(one, many))
    os.truncate(path, path.stat().st_size - 4 + 4 * n)
    return path


def run_python(code: str, *arguments: object) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


class CountingFile(MappedFile):
    """A file that counts the bytes read from it."""

    bytes_read = 0

    def read_at(self, offset: int, into: memoryview) -> int:
        got = super().read_at(offset, into)
        self.bytes_read += got
        return got


def resident_kib(address: int) -> int:
    """Resident size of the mapping that holds `address`."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first:
            start, end = (int(part, 16) for part in first.split("-"))
            inside = start <= address < end
        elif inside and first == "Rss:":
            return int(line.split()[1])
    raise AssertionError("the mapping is not listed")


@pytest.mark.parametrize("strings", [0, 1000, 100_000])
def test_opening_reads_the_header_and_at_most_a_megabyte_more(tmp_path: Path, strings: int) -> None:
    source = CountingFile(large_file(tmp_path / "m.gguf", strings))
    header = parse_header(source)
    assert header.tensors["t"].nbytes == 64 << 20
    assert header.data_offset <= source.bytes_read + 32
    assert source.bytes_read <= header.data_offset + (1 << 20)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_opening_touches_no_page_of_the_mapping(tmp_path: Path) -> None:
    file = ModelFile(large_file(tmp_path / "m.gguf"))
    tensor = map_tensors(file)["t"]
    assert resident_kib(tensor.address) == 0
    assert tensor.data[1 << 20] == 0
    assert resident_kib(tensor.address) > 0


def test_opening_makes_no_object_for_a_vocabulary_entry(tmp_path: Path) -> None:
    path = large_file(tmp_path / "m.gguf", 100_000)
    ModelFile(path)  # what is made once per process is made now
    before = sys.getallocatedblocks()
    file = ModelFile(path)
    assert sys.getallocatedblocks() - before < 500
    assert file.metadata.strings("words", length=100_000)[99_999] == "token 99999"


def test_opening_real_vocabularies_makes_no_object_per_entry(data_dir: Path) -> None:
    ModelFile(data_dir / "vocab" / "llama-bpe.gguf")
    before = sys.getallocatedblocks()
    file = ModelFile(data_dir / "vocab" / "llama-bpe.gguf")
    assert sys.getallocatedblocks() - before < 1000
    assert len(file.metadata.strings("tokenizer.ggml.tokens")) == 128_256


def test_a_limit_on_memory_is_a_model_file_error(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from llamacpp.errors import ModelFileError\n"
        "from llamacpp.format import ModelFile\n"
        "used = 4096 * int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)\n"
        "try: ModelFile(sys.argv[1])\n"
        "except ModelFileError as error: print(error)\n"
    )
    path = large_file(tmp_path / "m.gguf")
    assert "cannot map: [Errno 12]" in run_python(code, path, 10 << 20)
    assert "cannot reserve 66 MiB to read the header" in run_python(code, path, 80 << 20)


def test_reading_a_file_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from llamacpp.tensors import map_tensors\n"
        "from llamacpp.format import ModelFile\n"
        "map_tensors(ModelFile(sys.argv[1]))\n"
        "print(*{'numpy', 'sentencepiece', 'jinja2', 'ctypes'} & set(sys.modules))\n"
    )
    (tmp_path / "m.gguf").write_bytes(SMALL)
    assert run_python(code, tmp_path / "m.gguf").strip() == ""


def test_values_survive_the_file_they_came_from(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(model({"words": ["a", "b"], "scores": [0.5]}))
    with ModelFile(path) as file:
        words, scores = file.metadata.strings("words"), file.metadata.numbers("scores", F32)
    os.truncate(path, 0)
    del file
    assert list(words) == ["a", "b"]
    assert scores.tolist() == [0.5]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.gguf", "absent.gguf: cannot open: No such file or directory"),
        ("folder", "folder: is a directory; name the .gguf file in it"),
        ("empty.gguf", "empty.gguf: the file is empty"),
        ("pipe", "pipe: is not a regular file"),
        ("loop", "loop: cannot open: Too many levels of symbolic links"),
        ("nul\0.gguf", "cannot open: embedded null byte"),
        ("x" * 300, "cannot open: File name too long"),
    ],
)
def test_what_cannot_be_mapped_is_refused_with_the_reason(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.gguf").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ModelFileError, match=message):
        ModelFile(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(SMALL)
    path.chmod(0)
    with pytest.raises(ModelFileError, match="cannot open: Permission denied"):
        ModelFile(path)


def test_a_file_of_another_kind_is_named_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises(FormatError, match=r"model\.safetensors: not a GGUF file: a safetensors"):
        ModelFile(path)


def change_size(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def cut(path: Path) -> None:
    os.truncate(path, 10)


def touch_later(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [change_size, cut, touch_later])
def test_a_change_after_opening_is_noticed(tmp_path: Path, change: object) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(SMALL)
    with ModelFile(path) as file:
        file.check_unchanged()
        assert callable(change)
        change(path)
        with pytest.raises(ModelFileError, match="changed while in use; open the model again"):
            file.check_unchanged()


def test_a_file_replaced_or_deleted_stays_in_use_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(SMALL)
    with ModelFile(path) as file:
        tensor = map_tensors(file)["t"]
        (tmp_path / "new").write_bytes(b"something else")
        (tmp_path / "new").replace(path)
        file.check_unchanged()
        path.unlink()
        file.check_unchanged()
        assert tensor.data == struct.pack("<2f", 1, 2)


def test_the_mapping_cannot_be_pulled_away_from_its_users(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(SMALL)
    file = ModelFile(path)
    tensor = map_tensors(file)["t"]
    mapped = tensor.data.obj
    assert isinstance(mapped, mmap.mmap)
    file.close()
    file.close()
    with pytest.raises(BufferError):
        mapped.close()
    with pytest.raises(ModelFileError, match="the model file is closed"):
        map_tensors(file)
    assert tensor.data == struct.pack("<2f", 1, 2)


def test_a_mapping_is_read_only_and_shared(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(SMALL)
    file = ModelFile(path)
    data = map_tensors(file)["t"].data
    with pytest.raises(TypeError, match="read-only"):
        data[0] = 1
    with path.open("r+b") as other:  # another process's write shows: nothing was copied
        other.seek(file.tensors["t"].offset)
        other.write(struct.pack("<f", 5))
    assert data == struct.pack("<2f", 5, 2)


def test_files_are_let_go_of_with_the_last_reference(tmp_path: Path) -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    path = tmp_path / "m.gguf"
    path.write_bytes(SMALL)
    before = open_descriptors()
    file = ModelFile(path)
    tensors = map_tensors(file)
    assert open_descriptors() > before
    file.close()
    del tensors, file
    assert open_descriptors() == before
    path.write_bytes(b"not a model")
    with pytest.raises(FormatError) as caught:
        ModelFile(path)
    del caught
    assert open_descriptors() == before
