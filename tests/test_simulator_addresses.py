import pytest

from clipdrive.simulator.addresses import server_addresses, server_of_worker
from clipdrive.simulator.errors import SimulatorError


def test_workers_take_the_addresses_in_turn():
    environment = {"CARLA_SERVERS": "one:2000, 10.0.0.2:3000,"}
    assert server_addresses(environment) == [("one", 2000), ("10.0.0.2", 3000)]
    assert [server_of_worker(worker, environment)[1] for worker in range(4)] == [2000, 3000, 2000, 3000]


@pytest.mark.parametrize("environment", [{}, {"CARLA_SERVERS": " "}])
def test_unset(environment):
    with pytest.raises(
        SimulatorError, match="CARLA_SERVERS is not set, and 'simulator: carla' needs it; allowed: host:port"
    ):
        server_addresses(environment)


@pytest.mark.parametrize("text", ["localhost", ":2000", "one:two", "one:0", "one:70000", "one:2000;two:2000"])
def test_malformed(text):
    with pytest.raises(SimulatorError, match="CARLA_SERVERS: got '.*', allowed: host:port"):
        server_addresses({"CARLA_SERVERS": text})
