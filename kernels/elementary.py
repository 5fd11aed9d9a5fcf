"""Elementary functions of float32 vectors without a library call: erf, tanh, logarithm, square root, powers.

Each states its error against float64, which tests/kernels/test_elementary.py measures over the whole range.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

from hwnas.kernels.activation import exponential
from hwnas.kernels.builder import KernelBuilder, Value, cast, const, intrinsic, lanes_of, reinterpret, vector_type

_INFINITY, _NAN = 0x7F800000, 0x7FC00000
_SMALLEST_NORMAL = 2.0**-126

# erf(x) = x P(x^2) / Q(x^2) on [-4, 4], where |erf| is 1 within half a unit beyond; the highest power first. The
# coefficients of this minimax fit and of tanh's are Eigen's (MPL-2.0 headers state them as numbers).
_ERF = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
        -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)  # fmt: skip
_ERF_BELOW = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
              -1.42647390514189e-02)  # fmt: skip
# tanh(x) = x P(x^2) / Q(x^2) on [-7.905, 7.905]
_TANH = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
         1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03)  # fmt: skip
_TANH_BELOW = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_TANH_REACH = 7.90531110763549805
# log(1 + f) = f - f^2 / 2 + f^3 P(f) for f in [sqrt(1/2) - 1, sqrt(2) - 1] (the Cephes library's logf)
_LOG = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip

# erfc(z) = t exp(-z^2 + P(t)), t = 1 / (1 + z / 2), z >= 0: relative error 1.2e-7 (Numerical Recipes, erfcc)
_ERFC = (0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196,
         1.00002368, -1.26551223)  # fmt: skip


def _number(value: float, lanes: int) -> Value:
    return const(value, "float32", lanes)


def _bits(pattern: int, lanes: int) -> Value:
    """The float32 of this bit pattern in every lane: infinities and NaN, which no constant folding may touch."""
    return reinterpret(const(pattern, "int32", lanes), vector_type("float32", lanes))


def _is_nan(x: Value) -> Value:
    """By its bits: TVM folds x != x away."""
    lanes = lanes_of(x)
    magnitude = reinterpret(x, vector_type("int32", lanes)) & const(0x7FFFFFFF, "int32", lanes)
    return magnitude > const(_INFINITY, "int32", lanes)


def polynomial(b: KernelBuilder, x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's rule, the highest power first."""
    total = _number(coefficients[0], lanes_of(x))
    for coefficient in coefficients[1:]:
        total = b.let(total * x + _number(coefficient, lanes_of(x)))
    return total


def _odd_ratio(b: KernelBuilder, value: Value, reach: float, above: Sequence[float], below: Sequence[float]) -> Value:
    lanes = lanes_of(value)
    x = b.let(tirx.min(tirx.max(value, _number(-reach, lanes)), _number(reach, lanes)))
    square = b.let(x * x)
    return x * polynomial(b, square, above) / polynomial(b, square, below)


def erf(b: KernelBuilder, value: Value) -> Value:
    """The error function within 4e-7."""
    return _odd_ratio(b, value, 4.0, _ERF, _ERF_BELOW)


def tanh(b: KernelBuilder, value: Value) -> Value:
    """The hyperbolic tangent within 3e-7, relative to it near 0."""
    return _odd_ratio(b, value, _TANH_REACH, _TANH, _TANH_BELOW)


def normal_distribution(b: KernelBuilder, value: Value) -> Value:
    """The share of a normal distribution below x, erfc(-x / sqrt 2) / 2: within (3 + x^2) * 1.5e-7 of itself.

    Relative to itself, so that GELU's left tail is no difference of two numbers near 1.
    """
    lanes = lanes_of(value)
    x = b.let(value)
    z = b.let(tirx.max(x, _number(0.0, lanes) - x) * _number(0.7071067811865476, lanes))
    t = b.let(_number(1.0, lanes) / (_number(1.0, lanes) + _number(0.5, lanes) * z))
    tail = b.let(_number(0.5, lanes) * t * exponential(b, polynomial(b, t, _ERFC) - z * z))
    return tirx.Select(x < _number(0.0, lanes), tail, _number(1.0, lanes) - tail)


def square_root(value: Value) -> Value:
    """Correctly rounded: every target has the instruction."""
    return intrinsic(str(value.ty.dtype), "llvm.sqrt", value)


def exp(b: KernelBuilder, value: Value) -> Value:
    """exp within 3 units in the last place; above 88.72 infinity, below -87 (where float32 turns subnormal) 0."""
    lanes = lanes_of(value)
    x = b.let(value)
    # `exponential` stops at 88: the rest of the range is a factor
    over = b.let(tirx.max(x - _number(88.0, lanes), _number(0.0, lanes)))
    power = b.let(exponential(b, x) * exponential(b, tirx.min(over, _number(1.0, lanes))))
    power = tirx.Select(x > _number(88.7228, lanes), _bits(_INFINITY, lanes), power)
    power = tirx.Select(x < _number(-87.0, lanes), _number(0.0, lanes), power)
    return tirx.Select(_is_nan(x), x, power)


def logarithm(b: KernelBuilder, value: Value) -> Value:
    """The natural logarithm within 2 units in the last place, or 2e-7 of where it is below 1; -inf of 0, NaN below.

    x = 2^e m with m in [sqrt(1/2), sqrt(2)); subnormal numbers are scaled by 2^24 first (a core that flushes them
    takes them for 0).
    """
    lanes = lanes_of(value)
    given = b.let(value)
    tiny = given < _number(_SMALLEST_NORMAL, lanes)
    x = b.let(tirx.Select(tiny, given * _number(2.0**24, lanes), given))
    lift = b.let(tirx.Select(tiny, _number(-24.0, lanes), _number(0.0, lanes)))
    bits = b.let(reinterpret(x, vector_type("int32", lanes)))
    # taking off sqrt(1/2)'s pattern first makes the exponent's field count from the nearest power of two
    steps = b.let((bits - const(0x3F3504F3, "int32", lanes)) >> const(23, "int32", lanes))
    mantissa = b.let(bits - (steps << const(23, "int32", lanes)))
    f = b.let(reinterpret(mantissa, vector_type("float32", lanes)) - _number(1.0, lanes))
    e = b.let(cast(steps, "float32") + lift)
    square = b.let(f * f)
    tail = b.let(f * square * polynomial(b, f, _LOG) + e * _number(-2.12194440e-4, lanes))
    total = b.let((f + (tail - _number(0.5, lanes) * square)) + e * _number(0.693359375, lanes))
    total = tirx.Select(tirx.EQ(given, _bits(_INFINITY, lanes)), given, total)
    total = tirx.Select(tirx.EQ(given, _number(0.0, lanes)), _bits(_INFINITY - 2**31, lanes), total)
    return tirx.Select(tirx.Or(given < _number(0.0, lanes), _is_nan(given)), _bits(_NAN, lanes), total)


def power(b: KernelBuilder, value: Value, exponent: float) -> Value:
    """value ** exponent for a constant: whole ones up to 64 by squaring, halves by a square root, others by logarithms.

    The last are within (2 + |exponent log value|) * 2e-7 of the result; a negative base gives NaN there.
    """
    lanes = lanes_of(value)
    x = b.let(value)
    if exponent == 0.5:
        return square_root(x)
    if exponent < 0:
        return _number(1.0, lanes) / b.let(power(b, x, -exponent))
    if exponent == int(exponent) and exponent <= 64:
        result: Value = _number(1.0, lanes)
        for bit in f"{int(exponent):b}":
            result = b.let(result * result * x if bit == "1" else result * result)
        return result
    # in a register: TVM's simplifier looks through names, and takes seconds for both chains in one
    scaled = b.register(logarithm(b, x) * _number(exponent, lanes))
    result = exp(b, scaled.value)
    # 0 ** a without asking what exp makes of -inf
    return tirx.Select(tirx.EQ(x, _number(0.0, lanes)), _number(0.0, lanes), result)
