"""Parameters are checked when they are given, and the message names what is wrong."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest

from llamacpp.errors import InvalidArgumentError
from llamacpp.sampling import SamplingParams

WRONG = [
    ({"temperature": -0.1}, r"temperature is -0.1; it must be a finite number, at least 0"),
    ({"temperature": math.nan}, r"temperature is nan"),
    ({"temperature": "hot"}, r"temperature is 'hot'"),
    ({"temperature": True}, r"temperature is True"),
    ({"top_k": 4.0}, r"top_k is 4.0; it must be an integer"),
    ({"top_p": 1.5}, r"top_p is 1.5; it must be from 0 to 1"),
    ({"min_p": -0.01}, r"min_p is -0.01; it must be from 0 to 1"),
    ({"typical_p": 2}, r"typical_p is 2; it must be from 0 to 1"),
    ({"top_n_sigma": math.inf}, r"top_n_sigma is inf; it must be a finite number"),
    ({"xtc_probability": 7}, r"xtc_probability is 7; it must be from 0 to 1"),
    ({"xtc_threshold": -1}, r"xtc_threshold is -1; it must be from 0 to 1"),
    ({"repeat_penalty": 0.0}, r"repeat_penalty is 0.0; it must be a finite number, above 0"),
    ({"frequency_penalty": math.inf}, r"frequency_penalty is inf; it must be a finite number"),
    ({"presence_penalty": None}, r"presence_penalty is None; it must be a finite number"),
    ({"penalty_last_n": -2}, r"penalty_last_n is -2; it must be an integer, at least -1"),
    ({"dry_multiplier": -1}, r"dry_multiplier is -1; it must be a finite number, at least 0"),
    ({"dry_base": 0.5}, r"dry_base is 0.5; it must be a finite number, at least 1"),
    ({"dry_allowed_length": 0}, r"dry_allowed_length is 0; it must be an integer, at least 1"),
    ({"dry_penalty_last_n": -5}, r"dry_penalty_last_n is -5; it must be an integer, at least -1"),
    ({"dry_sequence_breakers": "\n"}, r"dry_sequence_breakers is '\\n'; it must be a list"),
    ({"dry_sequence_breakers": [""]}, r"dry_sequence_breakers holds ''; each must be"),
    ({"mirostat_mode": 3}, r"mirostat_mode is 3; it must be an integer from 0 to 2"),
    ({"mirostat_tau": 0}, r"mirostat_tau is 0; it must be a finite number, above 0"),
    ({"mirostat_eta": -1}, r"mirostat_eta is -1; it must be a finite number, at least 0"),
    ({"seed": -1}, r"seed is -1; it must be an integer from 0 to 18446744073709551615"),
    ({"seed": 2**64}, r"seed is 18446744073709551616; it must be"),
    ({"logit_bias": [1]}, r"logit_bias is \[1\]; it must map token ids to numbers"),
    ({"logit_bias": {"5": 1.0}}, r"a token id in logit_bias is '5'; it must be an integer"),
    ({"logit_bias": {-1: 1.0}}, r"a token id in logit_bias is -1; it must be an integer"),
    ({"logit_bias": {7: math.inf}}, r"logit_bias of token 7 is inf; it must be a number or -inf"),
    ({"logit_bias": {7: math.nan}}, r"logit_bias of token 7 is nan"),
    ({"logit_bias": {7: "no"}}, r"logit_bias of token 7 is 'no'"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_a_wrong_parameter_is_named_with_its_value_and_range(given: dict, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        SamplingParams(**given)


def test_the_defaults_are_those_of_llama_cpp_python() -> None:
    p = SamplingParams()
    assert (p.temperature, p.top_k, p.top_p, p.min_p, p.typical_p) == (0.8, 40, 0.95, 0.05, 1.0)
    assert (p.repeat_penalty, p.frequency_penalty, p.presence_penalty) == (1.0, 0.0, 0.0)
    assert (p.penalty_last_n, p.mirostat_mode, p.mirostat_tau, p.mirostat_eta) == (64, 0, 5.0, 0.1)


def test_the_edges_of_the_ranges_are_allowed() -> None:
    SamplingParams(temperature=0, top_k=-1, top_p=0, min_p=1, typical_p=0, seed=2**64 - 1)
    SamplingParams(logit_bias={0: -math.inf, 2**31 - 1: -3})


def test_parameters_are_values() -> None:
    bias = {3: 1.0}
    p = SamplingParams(logit_bias=bias, dry_sequence_breakers=["a"])
    bias[3] = 9.0
    assert p.logit_bias == {3: 1.0}
    assert hash(p) == hash(copy.deepcopy(p))
    assert p == pickle.loads(pickle.dumps(p)) == dataclasses.replace(p)
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.top_k = 1
