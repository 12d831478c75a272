"""How slow tests are spread over processes."""

import pytest
from xdist.scheduler import LoadFileScheduling


class ByFile(LoadFileScheduling):
    """Tests of a file in one process, for what they share; documented pages share nothing."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if "test_docs_code" in nodeid else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log):
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None
