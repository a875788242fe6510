"""What was observed of a model's pages, as text with a picture, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from llamacpp.engine import Model
from llamacpp.measure.page_map import page_map, printable
from llamacpp.measure.report import markdown_table
from llamacpp.measure.touches import Observation, Step
from llamacpp.measure.work import weight_bytes_per_token
from llamacpp.memory.pages import PAGE

__all__ = ["as_json", "as_text"]


def as_text(model: Model, seen: Observation, width: int, encoding: str) -> str:
    """Memory, a table of the steps, and a picture for a terminal of this width and encoding."""
    file, nbytes = model.file, seen.memory.nbytes
    header = ["step", "tokens", "minor faults", "major", f"x {PAGE:,} bytes", "of tensors"]
    if seen.touched is not None:
        header += ["touched pages", "bytes", "of tensors"]
    lines = [
        f"{printable(str(file.path))}: {nbytes / 1e6:,.1f} MB in {len(file.tensors)} tensors",
        "",
        str(seen.memory),
        f"by design     {weight_bytes_per_token(model) / 1e6:,.1f} MB of weights a token",
        "",
        markdown_table(header, [_row(step, nbytes) for step in seen.steps], 1),
    ]
    if seen.resident is not None or seen.touched is not None:
        tensors = list(file.tensors.values())
        lines.append(page_map(tensors, seen.resident, seen.touched, width=width, encoding=encoding))
    return "\n".join(lines)


def _row(step: Step, nbytes: int) -> list[str]:
    faults = step.faults
    row = [step.name, f"{step.n_tokens:,}", f"{faults.minor:,}", f"{faults.major:,}"]
    row += _size((faults.minor + faults.major) * PAGE, nbytes)
    if step.touched is not None:
        row += [f"{step.touched_pages:,}", *_size(sum(step.touched.values()), nbytes)]
    return row


def _size(part: int, whole: int) -> list[str]:
    return [f"{part / 1e6:,.1f} MB", f"{part / whole:.1%}"]


def as_json(model: Model, seen: Observation, version: str) -> str:
    """Everything, tensor by tensor and step by step; null is what is not known."""
    memory = asdict(seen.memory)
    resident = memory.pop("tensors")
    found = {
        "model_filename": str(model.file.path),
        "page_bytes": PAGE,
        "weight_bytes_per_token": weight_bytes_per_token(model),
        "copied_weight_bytes": model.copied_weight_bytes,
        "memory": memory,
        "steps": [
            {
                "name": step.name,
                "n_tokens": step.n_tokens,
                "minor_faults": step.faults.minor,
                "major_faults": step.faults.major,
                "touched_pages": step.touched_pages,
                "touched_bytes": step.touched and sum(step.touched.values()),
            }
            for step in seen.steps
        ],
        "tensors": [
            {
                "name": info.name,
                "type": info.type.name,
                "nbytes": info.nbytes,
                "resident_bytes": resident and resident[info.name],
                "touched_bytes": [step.touched and step.touched[info.name] for step in seen.steps],
            }
            for info in model.file.tensors.values()
        ],
        "version": version,
    }
    return json.dumps(found, indent=1, allow_nan=False)
