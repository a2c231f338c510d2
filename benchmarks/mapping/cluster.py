"""Cluster: Ray's own test cluster on this machine, a head without processors and two nodes with one each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.mapping.drivers import Engine
from pipeline.telemetry import opt_out

_STORE_BYTES = 80 * 2**20  # the least that Ray takes is 75 MiB
_ROOT = Path(__file__).parents[2]


@contextmanager
def two_node_cluster() -> Iterator[Engine]:
    """The engine of a cluster that lives as long as it is entered. Raises ImportError without ray."""
    opt_out()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": _STORE_BYTES, "include_dashboard": False},
    )
    nodes = [_add(cluster), _add(cluster)]
    cluster.wait_for_nodes()

    def remove() -> None:
        cluster.remove_node(nodes.pop(), allow_graceful=False)

    def restore() -> None:
        nodes.append(_add(cluster))
        cluster.wait_for_nodes()

    try:
        yield Engine("ray", {"RAY_ADDRESS": cluster.address}, remove, restore)
    finally:
        cluster.shutdown()


def _add(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)
