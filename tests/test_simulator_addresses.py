import pytest

from clipdrive.simulator.addresses import server_addresses
from clipdrive.simulator.errors import SimulatorError


def test_each_address_once():
    environment = {"CARLA_SERVERS": "one:2000, 10.0.0.2:3000,one:2000,"}
    assert server_addresses(environment) == [("one", 2000), ("10.0.0.2", 3000)]


@pytest.mark.parametrize("environment", [{}, {"CARLA_SERVERS": " "}, {"CARLA_SERVERS": " , "}])
def test_unset(environment):
    with pytest.raises(
        SimulatorError, match="CARLA_SERVERS is not set, and 'simulator: carla' needs it; allowed: host:port"
    ):
        server_addresses(environment)


@pytest.mark.parametrize("text", ["localhost", ":2000", "one:two", "one:0", "one:70000", "one:2000;two:2000"])
def test_malformed(text):
    with pytest.raises(SimulatorError, match="CARLA_SERVERS: got '.*', allowed: host:port"):
        server_addresses({"CARLA_SERVERS": text})
