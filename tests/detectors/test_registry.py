from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from service.detectors.ensemble import Strategy
from service.detectors.registry import AnyDetectorConfig, EnsembleConfig, make_ensemble


def test_the_default_ensemble_judges_by_long_memory_and_shows_the_others() -> None:
    ensemble = make_ensemble(EnsembleConfig())
    weights = dict(zip([detector.name for detector in ensemble.detectors], ensemble.weights, strict=True))
    assert weights.pop("deviation") == 1.0
    assert set(weights) == {
        "zscore",
        "robust_z",
        "ewma",
        "difference",
        "half_space_trees",
        "isolation_forest",
    }
    assert set(weights.values()) == {0.0}
    assert ensemble.strategy is Strategy.WEIGHTED_AVERAGE


def test_every_type_can_be_named_in_a_configuration() -> None:
    types = [config.model_fields["type"].default for config in get_args(get_args(AnyDetectorConfig)[0])]
    config = EnsembleConfig.model_validate({"detectors": [{"type": name} for name in types]})
    assert [detector.name for detector in make_ensemble(config).detectors] == types


@pytest.mark.parametrize("name", ["isolation_forest", "autoencoder"])
def test_a_fit_imports_nothing_but_what_its_configuration_names(name: str) -> None:
    asked = (
        "import importlib, sys, numpy\n"
        "from service.detectors.registry import EnsembleConfig, make_ensemble\n"
        f"config = EnsembleConfig.model_validate({{'detectors': [{{'type': {name!r}}}]}})\n"
        "module = config.detectors[0].fits_with\n"
        "if module: importlib.import_module(module)\n"
        "before = set(sys.modules)\n"
        "make_ensemble(config).train(numpy.random.default_rng(1).uniform(-1, 1, (64, 6)))\n"
        "print(*sorted(m for m in set(sys.modules) - before if m.startswith(('sklearn', 'scipy'))))"
    )
    ran = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == []


def test_weights_and_strategy_reach_the_ensemble() -> None:
    config = EnsembleConfig.model_validate(
        {"strategy": "max", "detectors": [{"type": "ewma", "weight": 2.5}, {"type": "zscore", "weight": 0}]}
    )
    ensemble = make_ensemble(config)
    assert ensemble.weights == (2.5, 0.0)
    assert ensemble.strategy is Strategy.MAX


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"detectors": []}, "at least one detector"),
        ({"detectors": [{"type": "ewma"}, {"type": "ewma"}]}, "each detector type once, got ewma, ewma"),
        ({"detectors": [{"type": "ewma", "weight": 0}]}, "weight above 0"),
        ({"detectors": [{"type": "oracle"}]}, "oracle"),
        ({"strategy": "mean"}, "strategy"),
        ({"detector": []}, "detector"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        EnsembleConfig.model_validate(wrong)
