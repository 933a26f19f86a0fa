"""Which native module is imported, and what happens if none fits."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pgfast
from pgfast import _native

RunPython = Callable[..., subprocess.CompletedProcess[str]]

# A sample of every kernel. The same code runs in this process and in one that forces a variant.
COMPUTE = """
import numpy as np, pgfast
from pgfast import kernels, losses, nn, optim
from pgfast.distributions import Categorical, DiagGaussian, MultiCategorical

rng = np.random.default_rng(0)
results = {}
for dtype in (np.float32, np.float64):
    network = nn.origin_cnn((4, 36, 44), 5, dtype=dtype)
    x = rng.integers(0, 256, (9, 4, 36, 44), np.uint8)
    dy = rng.standard_normal((9, 5)).astype(dtype)
    outputs = network.forward(x)
    gradient = network.vjp(x, dy)
    tangent = network.jvp(x, gradient)
    policy = Categorical(np.ascontiguousarray(outputs[:, :4]))
    parameters = network.parameters.copy()
    norm = kernels.clip_by_global_norm(gradient, 0.5)
    optim.RMSprop(0.01).step(parameters, gradient)
    values = rng.standard_normal((6, 7)).astype(dtype)
    ends = rng.random((6, 7)) < 0.2
    advantages, _ = kernels.gae(values, values, values[0], ends, None, 0.99, 0.95)
    for name in ("outputs", "gradient", "tangent", "parameters", "norm", "advantages"):
        results[name + dtype.__name__] = globals()[name]
    results["entropy" + dtype.__name__] = policy.entropy()
    results["sample" + dtype.__name__] = policy.sample(1)
    multi, gaussian = MultiCategorical(outputs, (2, 3)), DiagGaussian(outputs, dy[0])
    results["choices" + dtype.__name__] = multi.sample(1)
    results["normals" + dtype.__name__] = gaussian.sample(1)
    results["log_std" + dtype.__name__] = gaussian.gradient(dy, outputs[:, 0].copy())[1]
    results["surrogate" + dtype.__name__] = losses.trpo_surrogate(gaussian, DiagGaussian(dy, dy), dy, dy[:, 0].copy())
"""


def test_native_info_describes_the_module() -> None:
    info = pgfast.native_info()
    assert set(info) == {"isa", "supported", "vector_bytes", "compiler", "eigen", "num_threads"}
    assert info["isa"] in info["supported"]
    assert info["vector_bytes"] == {"v3": 32, "v4": 64}.get(info["isa"], 16)
    assert info["eigen"].count(".") == 2
    assert info["num_threads"] >= 1


@pytest.mark.parametrize("variant", pgfast.native_info()["supported"])
def test_every_variant_computes_close_results(variant: str, run_python: RunPython, tmp_path: Path) -> None:
    file = tmp_path / "results.npz"
    code = f"{COMPUTE}\nnp.savez({str(file)!r}, isa=pgfast.native_info()['isa'], **results)"
    finished = run_python(code, PGFAST_ISA=variant)
    assert finished.stderr == ""
    here: dict[str, object] = {}
    exec(COMPUTE, here)
    results = here["results"]
    assert isinstance(results, dict)
    with np.load(file) as there:
        assert there["isa"] == variant
        for name, expected in results.items():
            tolerance = 1e-5 if "float32" in name else 1e-12
            scale = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(there[name], expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)


def test_the_best_variant_is_the_default(run_python: RunPython) -> None:
    finished = run_python("import pgfast; print(pgfast.native_info()['isa'])", PGFAST_ISA=None)
    assert finished.stdout.strip() == pgfast.native_info()["supported"][0]


def test_an_unknown_variant_is_an_import_error(run_python: RunPython) -> None:
    supported = ", ".join(pgfast.native_info()["supported"])
    finished = run_python("import pgfast", PGFAST_ISA="v9")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == f"ImportError: PGFAST_ISA=v9: this machine supports {supported}"


def test_a_native_module_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"{name} is missing")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ImportError, match=r"^pgfast: the native module _core_v2 .*\(pgfast._core_v2 is missing\)"):
        _native._import_variant("v2")


class FakeCpu:
    """Stands for a CPU that this machine does not have."""

    def __init__(
        self, level: int, vendor: str = "GenuineIntel", *, family: int = 6, model: int = 0x8F, fp512: bool = False
    ) -> None:
        self.description = {"level": level, "vendor": vendor, "family": family, "model": model, "fp512": fp512}

    def describe(self) -> dict[str, object]:
        return self.description


ZEN_4 = FakeCpu(4, "AuthenticAMD", family=25, model=0x11)  # splits 512 bits in two
ZEN_5 = FakeCpu(4, "AuthenticAMD", family=26, model=0x02, fp512=True)
TIGER_LAKE = FakeCpu(4, model=0x8C)  # one multiplier of 512 bits, or two of 256
SAPPHIRE_RAPIDS = FakeCpu(4)
DIAMOND_RAPIDS = FakeCpu(4, family=19, model=1)


@pytest.mark.parametrize(
    ("cpu", "variants"),
    [
        *((cpu, ["v4", "v3", "v2"]) for cpu in (ZEN_5, SAPPHIRE_RAPIDS, DIAMOND_RAPIDS)),
        *((cpu, ["v3", "v4", "v2"]) for cpu in (ZEN_4, TIGER_LAKE)),
        *((FakeCpu(3), ["v3", "v2"]), (FakeCpu(2), ["v2"])),
    ],
)
def test_a_cpu_gets_the_variants_that_it_supports(
    cpu: FakeCpu, variants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr(importlib, "import_module", lambda name: cpu)
    monkeypatch.delenv("PGFAST_ISA", raising=False)
    assert _native._supported_variants() == variants
    assert _native._choose_variant() == variants[0]
    monkeypatch.setenv("PGFAST_ISA", "v2")
    assert _native._choose_variant() == "v2"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_this_cpu_is_described() -> None:
    if pgfast.native_info()["isa"] == "generic":
        pytest.skip("the module for other CPUs than x86-64 needs no choice")
    cpu = importlib.import_module("pgfast._cpu").describe()
    assert 2 <= cpu["level"] <= 4
    for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
        name, value = (part.strip() for part in line.split(":", 1))
        if name in ("cpu family", "model"):
            assert cpu[name.removeprefix("cpu ")] == int(value)
        if name == "vendor_id":
            assert cpu["vendor"] == value


def test_a_cpu_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(importlib, "import_module", lambda name: FakeCpu(1))
    with pytest.raises(ImportError, match=r"^pgfast: this CPU lacks SSE4.2"):
        _native._supported_variants()


def test_other_cpus_have_one_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert _native._supported_variants() == ["generic"]
