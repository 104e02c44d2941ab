import os
import socket

import pytest

# Tests run side by side: several threads each would wait for each other. Before torch is imported, also by commands.
os.environ["OMP_NUM_THREADS"] = "1"

LOCAL = {"127.0.0.1", "::1", "localhost", ""}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that needs another machine fails here, and says which."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise AssertionError(f"a test went to the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
