"""A trained model as a folder: whole, of this configuration, and never a pickle."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.detectors.model import Model, load, save
from service.detectors.registry import EnsembleConfig, make_ensemble
from service.errors import AnomalydError
from service.features.config import FeatureConfig
from service.features.engine import VECTOR_WIDTH

ENSEMBLE, FEATURES = EnsembleConfig(), FeatureConfig()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    ensemble = make_ensemble(ENSEMBLE)
    ensemble.train(np.random.default_rng(1).normal(size=(300, VECTOR_WIDTH)))
    folder = tmp_path_factory.mktemp("models") / "deep" / "model"
    return folder, save(folder, ensemble.state(), ENSEMBLE, FEATURES, {"points": 300})


@pytest.fixture
def folder(trained: tuple[Path, Model], tmp_path: Path) -> Path:
    """A copy to damage."""
    copy = tmp_path / "model"
    copy.mkdir()
    for file in trained[0].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def error_of(folder: Path, ensemble: EnsembleConfig = ENSEMBLE, features: FeatureConfig = FEATURES) -> str:
    with pytest.raises(AnomalydError) as caught:
        load(folder, ensemble, features)
    text = str(caught.value)
    assert text.startswith(f"model {folder}: ")
    return text.removeprefix(f"model {folder}: ")


def rewrite(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | changes), encoding="utf-8")


def ensemble_of(**first: Any) -> EnsembleConfig:
    """The default ensemble with other settings of its isolation forest."""
    detectors = [detector.model_dump() for detector in ENSEMBLE.detectors]
    detectors[-1] |= first
    return EnsembleConfig.model_validate({"detectors": detectors})


def test_what_was_saved_is_loaded_bit_for_bit(trained: tuple[Path, Model]) -> None:
    folder, saved = trained
    read = load(folder, ENSEMBLE, FEATURES)
    assert read.digest == saved.digest
    assert read.manifest["points"] == 300
    assert {n: (a.dtype, a.tobytes()) for n, a in read.arrays.items()} == {
        n: (a.dtype, a.tobytes()) for n, a in saved.arrays.items()
    }


def test_the_same_training_gives_the_same_bytes(trained: tuple[Path, Model], tmp_path: Path) -> None:
    _, model = trained
    again = save(tmp_path, model.arrays, ENSEMBLE, FEATURES, {"points": 300})
    assert again.digest == model.digest


def test_an_ensemble_takes_the_loaded_state_and_is_trained(folder: Path) -> None:
    ensemble = make_ensemble(ENSEMBLE)
    assert not all(detector.is_trained for detector in ensemble.detectors)
    ensemble.restore(load(folder, ENSEMBLE, FEATURES).arrays)
    assert all(detector.is_trained for detector in ensemble.detectors)


def test_the_folder_holds_two_files_and_nothing_half_written(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["arrays.npz", "manifest.json"]


def test_a_model_that_is_replaced_is_the_new_one(trained: tuple[Path, Model], folder: Path) -> None:
    new = save(folder, trained[1].arrays, ENSEMBLE, FEATURES, {"points": 301})
    assert load(folder, ENSEMBLE, FEATURES).manifest == new.manifest


@pytest.mark.parametrize("name", ["arrays.npz", "manifest.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert error_of(folder) == f"{folder / name}: No such file or directory"


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_one_flipped_bit_is_noticed(folder: Path, place: int) -> None:
    body = bytearray((folder / "arrays.npz").read_bytes())
    body[place] ^= 1
    (folder / "arrays.npz").write_bytes(body)
    assert error_of(folder) == "arrays.npz is damaged, its SHA-256 is not the manifest's"


def test_arrays_that_were_cut_short_are_noticed(folder: Path) -> None:
    body = (folder / "arrays.npz").read_bytes()
    (folder / "arrays.npz").write_bytes(body[: len(body) // 2])
    assert "damaged" in error_of(folder)


@pytest.mark.parametrize("manifest", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_no_json_is_damaged(folder: Path, manifest: bytes) -> None:
    (folder / "manifest.json").write_bytes(manifest)
    assert error_of(folder).startswith("manifest.json is damaged: ")


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"format": 1}', '{"format": 99}', "null"])
def test_another_format_is_refused(folder: Path, manifest: str) -> None:
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")
    assert error_of(folder).startswith("not a model of format ")


def test_a_model_of_other_detectors_is_refused(folder: Path) -> None:
    for other in (
        EnsembleConfig.model_validate({"detectors": [{"type": "zscore"}]}),
        EnsembleConfig(detectors=ENSEMBLE.detectors[::-1]),
        ensemble_of(trees=10),
        ensemble_of(seed=2),
    ):
        assert error_of(folder, ensemble=other).startswith(
            "trained with other settings of detection.ensemble.detectors;"
        )


def test_a_model_of_other_features_is_refused(folder: Path) -> None:
    assert error_of(folder, features=FeatureConfig(window_points=64)).startswith(
        "trained with other settings of detection.features;"
    )


def test_weights_and_strategy_may_change_under_a_model(folder: Path) -> None:
    other = EnsembleConfig.model_validate({**ensemble_of(weight=3.0).model_dump(), "strategy": "max"})
    assert load(folder, other, FEATURES).digest == load(folder, ENSEMBLE, FEATURES).digest


class Payload:
    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._file),)


def test_a_pickle_is_neither_loaded_nor_run(folder: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **{"zscore.x": np.array([Payload(tmp_path / "run")], object)})
    (folder / "arrays.npz").write_bytes(buffer.getvalue())
    rewrite(folder, sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
    assert "pickle" in error_of(folder).lower()
    assert not (tmp_path / "run").exists()


def test_arrays_that_are_no_archive_are_refused_whatever_the_manifest_says(folder: Path) -> None:
    (folder / "arrays.npz").write_bytes(b"PK\x03\x04 no archive")
    rewrite(folder, sha256=hashlib.sha256(b"PK\x03\x04 no archive").hexdigest())
    assert error_of(folder)


def test_objects_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save(tmp_path, {"a/b": np.array([object()])}, ENSEMBLE, FEATURES, {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        AnomalydError, match=rf"model {tmp_path}/file/model: cannot be written: Not a directory"
    ):
        save(tmp_path / "file" / "model", {}, ENSEMBLE, FEATURES, {})
