"""A trained model as a folder: `arrays.npz` and `manifest.json`, plain arrays and text, never a pickle."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.detectors.base import Array
from service.detectors.registry import EnsembleConfig
from service.errors import AnomalydError
from service.features.config import FeatureConfig

FORMAT = 3


@dataclass(frozen=True, slots=True)
class Model:
    """State of an ensemble, by `detector/array`; `digest` is the SHA-256 of the arrays' file."""

    arrays: Mapping[str, Array]
    digest: str
    manifest: Mapping[str, Any]


def save(
    folder: Path,
    arrays: Mapping[str, Array],
    ensemble: EnsembleConfig,
    features: FeatureConfig,
    about: Mapping[str, Any],
) -> Model:
    """Write the folder: the manifest, which carries the digest, comes last.

    Raises:
        AnomalydError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    named = {name.replace("/", ".", 1): array for name, array in arrays.items()}
    np.savez(buffer, allow_pickle=False, **named)
    body = buffer.getvalue()
    digest = hashlib.sha256(body).hexdigest()
    manifest = {"format": FORMAT, "sha256": digest, "settings": _needs(ensemble, features), **about}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "arrays.npz", body)
        _replace(folder / "manifest.json", (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise AnomalydError(f"model {folder}: cannot be written: {error.strerror}") from error
    return Model(dict(arrays), digest, manifest)


def load(folder: Path, ensemble: EnsembleConfig, features: FeatureConfig) -> Model:
    """Read what `save` wrote, for a service with these settings.

    Raises:
        AnomalydError: missing, damaged, of a format that this version does not know, or trained with
            other settings.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        body = (folder / "arrays.npz").read_bytes()
    except OSError as error:
        raise AnomalydError(f"model {folder}: {error.filename}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise AnomalydError(f"model {folder}: manifest.json is damaged: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise AnomalydError(f"model {folder}: not a model of format {FORMAT}")
    needs, trained = _needs(ensemble, features), manifest.get("settings", {})
    if other := [name for name in needs if needs[name] != trained.get(name)]:
        raise AnomalydError(
            f"model {folder}: trained with other settings of {', '.join(other)}; train one with these"
        )
    digest = hashlib.sha256(body).hexdigest()
    if digest != manifest.get("sha256"):
        raise AnomalydError(f"model {folder}: arrays.npz is damaged, its SHA-256 is not the manifest's")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            read = {name.replace(".", "/", 1): arrays[name] for name in arrays.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise AnomalydError(f"model {folder}: {error}") from error
    return Model(read, digest, manifest)


def _needs(ensemble: EnsembleConfig, features: FeatureConfig) -> dict[str, Any]:
    """The settings that the arrays fit, by path; weights and strategy may change under a model."""
    detectors = [detector.model_dump(mode="json", exclude={"weight"}) for detector in ensemble.detectors]
    return {
        "detection.ensemble.detectors": detectors,
        "detection.features": features.model_dump(mode="json"),
    }


def _replace(path: Path, body: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(body)
    temporary.replace(path)
