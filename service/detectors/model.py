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
from service.errors import AnomalydError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Model:
    """State of an ensemble, by `detector/array`; `digest` is the SHA-256 of the arrays' file."""

    arrays: Mapping[str, Array]
    digest: str
    manifest: Mapping[str, Any]


def save(folder: Path, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Model:
    """Write the folder, whole or not at all: the manifest, which carries the digest, comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name.replace("/", "."): array for name, array in arrays.items()})
    body = buffer.getvalue()
    digest = hashlib.sha256(body).hexdigest()
    manifest = {"format": FORMAT, "sha256": digest, **about}
    _replace(folder / "arrays.npz", body)
    _replace(folder / "manifest.json", (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
    return Model(dict(arrays), digest, manifest)


def load(folder: Path) -> Model:
    """Read what `save` wrote.

    Raises:
        AnomalydError: missing, damaged, or of a format that this version does not know.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        body = (folder / "arrays.npz").read_bytes()
    except (OSError, ValueError) as error:
        raise AnomalydError(f"model {folder}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise AnomalydError(f"model {folder}: not a model of format {FORMAT}")
    digest = hashlib.sha256(body).hexdigest()
    if digest != manifest.get("sha256"):
        raise AnomalydError(f"model {folder}: arrays.npz is damaged, its SHA-256 is not the manifest's")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            read = {name.replace(".", "/", 1): arrays[name] for name in arrays.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise AnomalydError(f"model {folder}: {error}") from error
    return Model(read, digest, manifest)


def _replace(path: Path, body: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(body)
    temporary.replace(path)
