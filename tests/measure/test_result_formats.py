"""Results as a table, as JSON and as CSV, of numbers that are written down here."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields, replace

from llamacpp.measure.benchmark import Result
from llamacpp.measure.report import as_csv, as_json, as_markdown, markdown_table

DECODE = Result(
    model_filename="/files/tiny, the first.gguf",
    model_type="Q4_K_M",
    model_size=667_000_000,
    model_n_params=1_100_000_000,
    cpu_info="Imaginary 9000",
    level="avx2",
    n_threads=2,
    cache_type="f16",
    test="tg64",
    n_prompt=0,
    n_gen=64,
    n_depth=0,
    n_seq=1,
    avg_ts=52.5,
    stddev_ts=0.125,
    samples_ts=[52.375, 52.625],
    gbps=34.25,
    read_gbps=40.0,
    read_share=0.85625,
    gops=108.0,
    int8_gops=800.0,
    int8_share=0.135,
    private_bytes=45_400_000,
    shared_bytes=690_000_000,
)
PROMPT = replace(
    DECODE, test="pp512", n_prompt=512, n_gen=0, avg_ts=310.0, stddev_ts=4.0, gops=601.0,
    int8_share=0.75, read_gbps=41.0, n_threads=1, model_size=2_345_000_000,
)  # fmt: skip
MANY = replace(DECODE, test="tg64 x8 @ d4096", n_seq=8, n_depth=4096, private_bytes=None)


def test_the_table_is_as_it_is() -> None:
    # fmt: off
    assert as_markdown([PROMPT, DECODE, MANY], "1.2.3") == (
        "| model           | size     | type   | threads | level | test            |           t/s"
        " | GB/s | of read | GOP/s | of int8 | private MB | shared MB |\n"
        "| --------------- | -------- | ------ | ------- | ----- | --------------- | ------------:"
        " | ---: | ------: | ----: | ------: | ---------: | --------: |\n"
        "| tiny, the first | 2.35 GB  | Q4_K_M | 1       | avx2  | pp512           | 310.00 ± 4.00"
        " |    – |       – |   601 |     75% |         45 |       690 |\n"
        "| tiny, the first | 667.0 MB | Q4_K_M | 2       | avx2  | tg64            |  52.50 ± 0.12"
        " | 34.2 |     86% |     – |       – |         45 |       690 |\n"
        "| tiny, the first | 667.0 MB | Q4_K_M | 2       | avx2  | tg64 x8 @ d4096 |  52.50 ± 0.12"
        " | 34.2 |     86% |   108 |     14% |          – |       690 |\n"
        "\n"
        "llamacpp 1.2.3, Imaginary 9000\n"
        "limits, 1 thread: 41.0 GB/s read, 800 GOP/s int8\n"
        "limits, 2 threads: 40.0 GB/s read, 800 GOP/s int8"
    )
    # fmt: on


def test_columns_without_a_number_are_left_out() -> None:
    unknown = replace(
        DECODE, read_gbps=None, read_share=None, int8_gops=None, int8_share=None, shared_bytes=None
    )
    header, *_, note = as_markdown([unknown], "1").splitlines()
    titles = [title.strip() for title in header.strip("|").split("|")]
    assert titles == [
        "model", "size", "type", "threads", "level", "test", "t/s", "GB/s", "private MB",
    ]  # fmt: skip
    assert note == "llamacpp 1, Imaginary 9000"


def test_json_is_a_list_of_all_fields() -> None:
    found = json.loads(as_json([PROMPT, MANY], "1.2.3"))
    assert [set(row) for row in found] == [{*(f.name for f in fields(Result)), "version"}] * 2
    assert found[0] == {**vars(PROMPT), "version": "1.2.3"}
    assert found[1]["private_bytes"] is None
    assert json.loads(as_json([], "1")) == []


def test_csv_is_a_header_and_a_line_each() -> None:
    text = as_csv([DECODE, MANY], "1.2.3")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == [*(f.name for f in fields(Result)), "version"]
    assert len(text.splitlines()) == 3
    assert rows[0]["model_filename"] == "/files/tiny, the first.gguf"
    assert rows[0]["samples_ts"] == "52.375 52.625"
    assert rows[0]["gbps"] == "34.25"
    assert (rows[1]["private_bytes"], rows[1]["version"]) == ("", "1.2.3")


def test_a_table_lines_up() -> None:
    table = markdown_table(["op", "us"], [["attention", "1"], ["x", "12345"]], 1)
    assert table.splitlines() == [
        "| op        |    us |",
        "| --------- | ----: |",
        "| attention |     1 |",
        "| x         | 12345 |",
    ]
