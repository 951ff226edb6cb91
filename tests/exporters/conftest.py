"""One fake of each vendor, over TLS, for a module; rigs that are stopped at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.exporters.rig import AWS, VENDORS, Rig, make_plugin
from tests.vendors.running import Vendor, start_vendor

MakeRig = Callable[..., Rig]


@pytest.fixture(scope="module", params=VENDORS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor(request.param, tmp_path_factory.mktemp("vendors"), tls=True) as running:
        yield running


@pytest.fixture
def vendor(shared: Vendor) -> Iterator[Vendor]:
    """The fake, which is well and knows nothing."""
    shared.reset()
    yield shared
    shared.script([])
    shared.back()
    shared.certificate("right")


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def plugin(shared: Vendor, aws: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The exporter that sends to the fake."""
    return make_plugin(shared, tmp_path_factory.mktemp("agent"))


@pytest.fixture
def make_rig(vendor: Vendor, plugin: Any, tmp_path: Path) -> Iterator[MakeRig]:
    """Makes rigs over one folder; `plugin=` another one than the fake's."""
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rig = Rig(vendor, options.pop("plugin", plugin), tmp_path / "export", **options)
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        rig.stop()
