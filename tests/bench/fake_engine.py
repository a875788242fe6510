"""An engine that only says that it ran, and fails as it is told to.

It speaks the protocol by itself, as an engine in another language would. Environment: FAKE_NAME;
FAKE_LOG, a file to which it appends what it is asked for; FAKE_SECONDS, what its counted runs took,
repeated as needed; FAKE_PACES, operations per second of the processors, the last one for ever;
FAKE_TROUBLE, `WHAT@N`: from the Nth run on (0 is the warm-up of the first test; "open": when it
opens) do die, garbage, refuse or hang.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

NAME = os.environ["FAKE_NAME"]
SECONDS = [float(word) for word in os.environ.get("FAKE_SECONDS", "1").split(",")]
PACES = [float(word) for word in os.environ.get("FAKE_PACES", "8").split(",")]
WHAT, _, WHEN = os.environ.get("FAKE_TROUBLE", "").partition("@")


def log(text: str) -> None:
    with Path(os.environ["FAKE_LOG"]).open("a", encoding="utf-8") as file:
        file.write(f"{NAME} {text}\n")


def trouble() -> object:
    if WHAT == "die":
        print("a word before dying", file=sys.stderr)
        sys.exit(3)
    if WHAT == "garbage":
        return "no JSON object"
    if WHAT == "hang":
        time.sleep(600)
    return {"error": {"type": "RefusedError", "message": f"{NAME} will not"}}


runs = counted = limits = 0
for line in sys.stdin:
    request = json.loads(line)
    do = request["do"]
    troubled = False
    answer: object = {}
    if do == "about":
        answer = {"name": NAME, "version": "1.0", "build": "none", "python": "none"}
    elif do == "open":
        log(f"open {request['n_threads']}t {request['n_ctx']} x{request.get('n_seq', 1)}")
        troubled = WHEN == "open"
        answer = {"seconds": 0.5}
    elif do == "run":
        test = f"p{request['n_prompt']} g{request['n_gen']} d{request['n_depth']}"
        log(f"run {test} x{request['n_seq']} seed {request['seed']}")
        troubled = WHEN.isdigit() and runs >= int(WHEN)
        runs += 1
        counted += request["seed"] > 0
        answer = {"seconds": SECONDS[(counted - 1) % len(SECONDS)]}
    elif do == "memory":
        answer = {"anonymous": 10_000_000, "mapped": 20_000_000, "pss": 15_000_000}
    elif do == "limits":
        log("limits")
        limits += 1
        answer = {"read_bandwidth": 1e9 * limits, "int8_peak": 8e9}
    elif do == "pace":
        log("pace")
        answer = {"operations": PACES.pop(0) if len(PACES) > 1 else PACES[0]}
    elif do == "work":
        answer = {"weight_bytes": 1e7, "operations": 2e7}
    if troubled:
        answer = trouble()
    print(answer if isinstance(answer, str) else json.dumps(answer), flush=True)
