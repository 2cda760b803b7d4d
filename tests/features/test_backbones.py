"""The registry of backbones."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from streetgauge.errors import InputError
from streetgauge.features import BACKBONES, get_backbone
from streetgauge.features.backbones import weights_file
from streetgauge.files import sha256_of


def test_a_backbone_is_found_by_its_name_and_cannot_be_changed() -> None:
    backbone = get_backbone("efficientnet-lite0")
    assert (backbone.dimension, backbone.crop, backbone.licence) == (1280, 224, "Apache-2.0")
    with pytest.raises(FrozenInstanceError):
        backbone.crop = 256  # type: ignore[misc]


def test_an_unknown_backbone_names_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean 'efficientnet-lite0'"):
        get_backbone("efficientnet_lite")


@pytest.mark.parametrize("name", BACKBONES)
def test_the_weights_are_in_their_package_and_are_the_published_ones(name: str) -> None:
    backbone = get_backbone(name)
    assert sha256_of(weights_file(backbone)) == backbone.sha256


def test_a_package_that_is_not_there_is_named() -> None:
    absent = replace(get_backbone("efficientnet-lite0"), weights="package:no_such_package/a.pth")
    with pytest.raises(InputError, match="install the package no-such-package"):
        weights_file(absent)


def test_names_that_need_no_torch_do_not_import_it() -> None:
    code = (
        "import sys; from streetgauge.features import FeatureStore, get_backbone, prepare; "
        "from streetgauge.imagery import find_views, read_picture; "
        "print(sorted({'torch', 'scipy', 'geopandas'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
