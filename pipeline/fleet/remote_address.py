"""Remote address: a word → whether fsspec opens it; apart from what opens it, for a quick help."""

from __future__ import annotations

import re

_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
_ADDRESS = re.compile(rf"({'|'.join(_SCHEMES)})://(?=[^/])")


def is_remote(path: str) -> bool:
    """Whether fsspec opens it: Amazon's S3 and its kin, Google's and Azure's storage."""
    return _ADDRESS.match(path) is not None
