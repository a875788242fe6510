"""The op that mixes experts: against plain products of the experts that NumPy chooses."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import ops
from llamacpp.errors import InvalidArgumentError, KernelError
from llamacpp.format.types import GGMLType
from llamacpp.tensors import Tensor
from tests.test_transformer_ops import matrix, product, rng, run, vector

pytestmark = pytest.mark.usefixtures("level")

N_EMBD, N_FF, N_EXPERT, N_USED = 256, 96 * 3, 7, 3
K_QUANT = 256  # columns that types with large blocks need
EPS = 1e-6


def stacked(name: str, kind: Type, k: int, rows: int) -> tuple[Tensor, list[Tensor]]:
    """The matrices of all experts, as one and each by itself."""
    whole = matrix(name, kind, rows * N_EXPERT, k)
    size = whole.nbytes // N_EXPERT
    data, of = bytes(whole.data), GGMLType(int(kind))
    each = [
        Tensor.from_buffer(f"{name}.{e}", of, (k, rows), data[e * size : (e + 1) * size])
        for e in range(N_EXPERT)
    ]
    return Tensor.from_buffer(name, of, (k, rows, N_EXPERT), data), each


class Case:
    """A mixture of experts with all that it can have."""

    def __init__(self, kind: Type, n_ff: int = N_FF, *, biased: bool = False) -> None:
        self.gate, self.gates = stacked("gate", kind, N_EMBD, n_ff)
        self.up, self.ups = stacked("up", kind, N_EMBD, n_ff)
        self.down, self.downs = stacked("down", kind, n_ff, N_EMBD)
        self.scales = rng().standard_normal(N_EMBD).astype(np.float32)
        self.norm = ops.Norm(vector("norm", self.scales), EPS)
        self.biases: list[np.ndarray] | None = None
        if biased:
            self.biases = [
                rng().standard_normal((N_EXPERT, rows)).astype(np.float32)
                for rows in (n_ff, n_ff, N_EMBD)
            ]

    def op(self, **options: object) -> ops.Experts:
        biases = (
            [None, None, None]
            if self.biases is None
            else [
                Tensor.from_buffer(f"{name} bias", GGMLType.F32, b.shape[::-1], b.tobytes())
                for name, b in zip(("gate", "up", "down"), self.biases, strict=True)
            ]
        )
        given = {"n_used": N_USED} | options
        return ops.Experts(self.gate, self.up, self.down, biases, norm=self.norm, **given)  # type: ignore[arg-type]

    def want(
        self,
        logits: np.ndarray,
        x: np.ndarray,
        *,
        n_used: int = N_USED,
        epilogue: int = ops.SWIGLU,
        weights_norm: bool = True,
        weights_scale: float = 1.0,
    ) -> np.ndarray:
        """What the op makes of x (n, N_EMBD): one token and one expert at a time."""
        out = x.astype(np.float64)
        p = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        for t in range(len(x)):
            chosen = np.argsort(-logits[t], kind="stable")[:n_used]
            weights = p[t, chosen] * weights_scale
            if weights_norm:
                weights /= p[t, chosen].sum()
            for e, weight in zip(chosen, weights, strict=True):
                bias = (
                    [vector(f"b{i}", b[e]) for i, b in enumerate(self.biases)]
                    if self.biases
                    else [None] * 3
                )
                up = ops.Linear(
                    [self.gates[e], self.ups[e]], bias[:2], norm=self.norm, epilogue=epilogue
                )
                (hidden,) = product(up, x[t : t + 1], self.gates[e].shape[1])
                (down,) = product(ops.Linear([self.downs[e]], bias[2:]), hidden, N_EMBD)
                out[t] += weight * down[0]
        return out


def inputs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of experts, some of whom are never chosen, and x."""
    random = rng()
    logits = random.standard_normal((n, N_EXPERT)).astype(np.float32)
    logits[:, 2] = -50
    return logits, 2 * random.standard_normal((n, N_EMBD)).astype(np.float32)


def mix(op: ops.Experts, logits: np.ndarray, x: np.ndarray, n_threads: int = 2) -> np.ndarray:
    """The op's result (n, N_EMBD)."""
    given, stream = ops.Buffer(*logits.shape), ops.Buffer(*x.shape)
    given.array[:], stream.array[:] = logits, x
    run(ops.Block().experts(op, given, stream), len(x), n_threads)
    return stream.array


def nmse(got: np.ndarray, want: np.ndarray, x: np.ndarray) -> float:
    """Error of what was added, normalised."""
    return float(((got - want) ** 2).sum() / ((want - x) ** 2).sum())


@pytest.mark.parametrize("n", [1, 3, 6, 20, 100])
@pytest.mark.parametrize("kind", [Type.F32, Type.Q4_0, Type.MXFP4, Type.Q8_0], ids=lambda t: t.name)
def test_every_token_gets_its_experts(kind: Type, n: int) -> None:
    case, (logits, x) = Case(kind), inputs(n)
    got = mix(case.op(), logits, x)
    assert nmse(got, case.want(logits, x), x) < (1e-11 if kind == Type.F32 else 2e-6)


@pytest.mark.parametrize("n", [1, 40])
@pytest.mark.parametrize("kind", [Type.Q4_K, Type.Q6_K, Type.IQ4_XS], ids=lambda t: t.name)
def test_types_with_large_blocks(kind: Type, n: int) -> None:
    case, (logits, x) = Case(kind, K_QUANT), inputs(n)
    assert nmse(mix(case.op(), logits, x), case.want(logits, x), x) < 2e-6


@pytest.mark.parametrize("n", [1, 5, 33])
@pytest.mark.parametrize("epilogue", [ops.SWIGLU, ops.GEGLU, ops.SWIGLU_OAI])
def test_biases_activations_and_weights_of_experts(epilogue: int, n: int) -> None:
    case, (logits, x) = Case(Type.F32, biased=True), inputs(n)
    for options in ({"weights_norm": False}, {"weights_scale": 2.5}):
        got = mix(case.op(epilogue=epilogue, **options), logits, x)
        want = case.want(logits, x, epilogue=epilogue, **options)  # type: ignore[arg-type]
        assert nmse(got, want, x) < 1e-11


@pytest.mark.parametrize("kind", [Type.F32, Type.Q4_0], ids=lambda t: t.name)
def test_threads_change_no_bit(kind: Type) -> None:
    case = Case(kind)
    for n in (1, 4, 70):
        logits, x = inputs(n)
        one, two, five = (mix(case.op(), logits, x, threads) for threads in (1, 2, 5))
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, five)


def test_one_expert_that_all_tokens_choose_and_ties() -> None:
    case, (logits, x) = Case(Type.Q4_0), inputs(50)
    logits[:, 4] = 30
    assert nmse(mix(case.op(), logits, x), case.want(logits, x), x) < 2e-6
    logits[:] = 1.0  # the first of them are taken
    assert nmse(mix(case.op(), logits, x), case.want(logits, x), x) < 2e-6


def test_experts_may_all_be_used() -> None:
    case, (logits, x) = Case(Type.F32), inputs(9)
    got = mix(case.op(n_used=N_EXPERT), logits, x)
    assert nmse(got, case.want(logits, x, n_used=N_EXPERT), x) < 1e-11


def test_infinite_and_missing_logits_are_no_crash() -> None:
    case, (logits, x) = Case(Type.Q4_0), inputs(20)
    logits[3], logits[5, 1], logits[7] = np.nan, np.inf, -np.inf
    got = mix(case.op(), logits, x)
    fine = [t for t in range(20) if t not in (3, 5, 7)]
    np.testing.assert_allclose(got[fine], case.want(logits[fine], x[fine]), rtol=1e-2, atol=1e-2)


def test_operands_that_make_no_sense_are_refused() -> None:
    case = Case(Type.F32)
    for options in (
        {"n_used": 0},
        {"n_used": N_EXPERT + 1},
        {"epilogue": ops.GELU},
        {"weights_scale": 0.0},
        {"weights_scale": float("nan")},
    ):
        with pytest.raises(KernelError, match="prepare gate"):
            case.op(**options)
    with pytest.raises(InvalidArgumentError, match="do not fit together"):
        ops.Experts(case.gate, case.down, case.up, norm=case.norm, n_used=1)


def test_costs_are_those_of_the_chosen() -> None:
    case = Case(Type.Q4_0)
    op = case.op()
    weights = 3 * N_EMBD * N_FF * N_USED
    assert op.weights_per_token == weights
    assert op.nbytes_per_token == weights * 18 // 32 + case.norm.weight.nbytes
