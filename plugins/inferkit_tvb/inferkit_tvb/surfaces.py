"""A cortical surface: TVB's own with tvb-data, or files; vertices are nodes, regions their averages.

The surface (a zip of vertices.txt, triangles.txt and normals.txt) has a region's index for each vertex,
and a local connectivity: a sparse matrix (vertices, vertices) called LocalCoupling in a .mat file, or
an .mtx or .npz one; without it TVB makes one of geodesic distances, which needs tvb-gdist.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import ConfigError
from inferkit_tvb.assemble import tvb
from inferkit_tvb.config import Surface
from inferkit_tvb.packing import whole


def surface(told: Surface, space: Any) -> Any:
    space.configure()  # counts its regions: those that no vertex belongs to are nodes of their own
    files = [Path(whole(f)) for f in (told.source, told.region_mapping, told.local_connectivity)]
    stamps = tuple((str(f), f.stat().st_mtime_ns) for f in files if f.is_file())
    cortex = cortex_of(told, len(space.weights), stamps)
    cortex.region_mapping_data.connectivity = space
    return cortex


@lru_cache(1)
def cortex_of(told: Surface, regions: int, stamps: tuple) -> Any:
    """Read once, for all rows: no parameter is a part of it, and geodesics take minutes.

    `stamps`: where the files are and since when, so that others are read anew.
    """
    default = told.source == "default"
    if default and find_spec("tvb_data") is None:
        raise ConfigError("the default surface is a file of tvb-data", fix="pip install tvb-data")
    if not default and not told.region_mapping:
        raise ConfigError(f"the surface {told.source!r} lacks a region_mapping",
                          allowed="a file with a region's index for each vertex",
                          fix='region_mapping = "regionMapping.txt"')
    if not told.local_connectivity and find_spec("gdist") is None:
        raise ConfigError("the surface lacks a local_connectivity",
                          allowed="a .mat file with a sparse matrix LocalCoupling of the vertices",
                          fix="pip install tvb-gdist   and TVB makes one of geodesic distances")
    given = {"source_file": "" if default else told.source, "region_mapping_file": told.region_mapping,
             "local_connectivity_file": told.local_connectivity}
    try:
        cortex = tvb().cortex.Cortex.from_file(**{k: whole(v) for k, v in given.items() if v})
    except Exception as cause:  # TVB's readers have an error class of their own
        raise ConfigError(f"the surface {told.source!r} cannot be read: {cause}") from cause
    check(cortex, told, regions)
    cortex.coupling_strength = np.array([told.coupling_strength])
    return cortex


def check(cortex: Any, told: Surface, regions: int) -> None:
    mapping, vertices = cortex.region_mapping_data.array_data, len(cortex.surface.vertices)
    if mapping.shape != (vertices,) or mapping.min() < 0 or mapping.max() >= regions:
        raise ConfigError(f"surface: region_mapping has {mapping.size} indices up to {mapping.max()}",
                          allowed=f"one region's index, 0 to {regions - 1}, for each of the "
                                  f"{vertices} vertices")
    if told.local_connectivity and cortex.local_connectivity.matrix.shape != (vertices, vertices):
        raise ConfigError(f"surface: local_connectivity is {cortex.local_connectivity.matrix.shape}",
                          allowed=f"({vertices}, {vertices})")


def averaged(sim: Any, state: np.ndarray) -> np.ndarray:
    """A state of all nodes (variables, nodes, modes) as the regions' averages, which travel."""
    return sim.backend.surface_state_to_rois(sim.surface.region_mapping,
                                             sim.connectivity.number_of_regions, state)
